/*
** sockaddr: addresses of sockets: `uring.sockaddr("127.0.0.1:53")`.
**
** An address is a value: it does not change, two of the same content are
** equal, and it holds nothing. The functions without a lua_State know nothing
** of Lua and may be called from any thread.
**
** In text: "127.0.0.1:53", "[::1]:53", "[fe80::1%eth0]:53", "unix:/run/x",
** "unix:@name" (abstract), "unix:./@x" (the file "@x"), "unix:" (unnamed).
** What is printed can be parsed. Host names are not searched up.
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

/* From text: NULL, or what is wrong with it. */
const char *address_parse (struct address *a, const char *s, size_t len);

/* From what the kernel wrote: `len` as it says, cut to `room`. */
void address_set (struct address *a, const void *from, size_t len,
                  size_t room);

/* Into text of at most ADDRESS_TEXT bytes, not ended; how many. */
size_t address_text (const struct address *a, char *to);

/* The address at `arg`: a uring.sockaddr, or a string that names one. */
struct address arg_address (lua_State *L, int arg);

/* The same for a value at `index` that is part of argument `arg`. */
struct address arg_address_in (lua_State *L, int index, int arg);

void sockaddr_push (lua_State *L, const struct address *a);

int sockaddr_new (lua_State *L);   /* uring.sockaddr(text | host, port) */
void sockaddr_open (lua_State *L);

#endif
