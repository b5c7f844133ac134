/*
** arrived: what a socket's requests have brought and no task has taken, when
** it moves to another state: payloads, connections and errors, in their order.
** (No Lua in it.)
**
** Each is a copy in memory of its own, for what the kernel has filled is the
** loop's or the socket's, and stays. Descriptors in it have no other owner:
** they are closed with it.
*/

#ifndef uring_arrived_h
#define uring_arrived_h

#include "net/socket.h"

struct arrived {
  struct arrived *next;
  int32_t res;             /* a connection's number; an error, negative */
  bool connection;         /* it is from an accept */
  bool end;                /* of data, which no bytes tell */
  struct rx_data rx;       /* a payload, whose parts are here: */
  _Alignas(16) unsigned char bytes[];
};

/* One with space for so many bytes; NULL: no memory. */
struct arrived *arrived_new (size_t space);

/* Make it of this payload, and the descriptors in it are its own. `end`: of
** data. */
void arrived_fill (struct arrived *a, const struct rx_data *rx, bool end);

/* The most that a payload's address takes. */
#define ARRIVED_NAME  sizeof(struct sockaddr_storage)

void arrived_add (struct arrived_list *list, struct arrived *a);
void arrived_add_first (struct arrived_list *list, struct arrived *a);

/* Take out the first, which is there. */
struct arrived *arrived_take (struct arrived_list *list);

/* The same of a connection: its number, or a negative error. */
int arrived_take_connection (struct arrived_list *list);

/* The bytes of all. */
size_t arrived_size (const struct arrived_list *list);

/* Close what it has, and free it. */
void arrived_free (struct arrived_list *list);

#endif
