/*
** sockaddr: socket addresses: `uring.sockaddr("127.0.0.1:53")`.
**
** An address is a value: it does not change, two with the same content are
** equal, and it owns no resource. The functions without a lua_State may be
** called from any thread.
**
** As text: "127.0.0.1:53", "[::1]:53", "[fe80::1%eth0]:53", "unix:/run/x",
** "unix:@name" (abstract), "unix:./@x" (the file "@x"), "unix:" (unnamed).
** Names of hosts are looked up elsewhere: os/resolve.h.
**
** Invariant: the text of an address parses to an equal address.
*/

#ifndef uring_sockaddr_h
#define uring_sockaddr_h

#include "compat.h"
#include "lua/state.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {           /* the userdata */
  socklen_t len;
  union {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
    unsigned char bytes[128];
  };
};

#define ADDRESS_TEXT 512

/* Parse text: NULL, or a description of the error. */
const char *address_parse (struct address *a, const char *s, size_t len);

/* Copy an address that the kernel has written; `len` is the length it reports,
** which may exceed the `capacity` of `from`. */
void address_set (struct address *a, const void *from, size_t len,
                  size_t capacity);

/* Write it as text of at most ADDRESS_TEXT bytes, without a final '\0';
** returns the length. */
size_t address_text (const struct address *a, char *to);

/* The address at `arg`: a uring.sockaddr, or the text of one. */
struct address arg_address (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct address arg_address_in (lua_State *L, int index, int arg);

void sockaddr_push (lua_State *L, const struct address *a);

int sockaddr_new (lua_State *L);   /* uring.sockaddr(text | host, port) */
void sockaddr_open (lua_State *L);

#endif
