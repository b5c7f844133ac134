/*
** arrived: the list, and the parts of a payload, one behind the other. What
** must not break: to fill one cannot fail, for its memory was made before, for
** all the parts; descriptors in it are closed once.
*/

#include "compat.h"
#include "net/arrived.h"

#include "ring/recvmsg_out.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>


struct arrived *arrived_new (size_t space) {
  struct arrived *a = malloc(sizeof(*a) + space);
  if (a) memset(a, 0, sizeof(*a));
  return a;
}

void arrived_fill (struct arrived *a, const struct rx_data *rx, bool end) {
  unsigned char *control = a->bytes;  /* (first: it is aligned) */
  unsigned char *name = control + rx->control_size;
  size_t name_size = rx->name_size < ARRIVED_NAME ? rx->name_size
                                                  : ARRIVED_NAME;
  a->rx = (struct rx_data){
    .at = name + name_size, .size = end ? 0 : rx->size,
    .full = end ? 0 : rx->full, .flags = rx->flags
  };
  a->end = end;
  if (end)
    return;
  if (rx->control_size > 0) memcpy(control, rx->control, rx->control_size);
  if (name_size > 0) memcpy(name, rx->name, name_size);
  if (rx->size > 0) memcpy(a->rx.at, rx->at, rx->size);
  a->rx.control = control;
  a->rx.control_size = rx->control_size;
  a->rx.name = name;
  a->rx.name_size = (uint32_t)name_size;
}

void arrived_add (struct arrived_list *list, struct arrived *a) {
  a->next = NULL;
  if (list->last) list->last->next = a;
  else list->first = a;
  list->last = a;
  list->count++;
}

void arrived_add_first (struct arrived_list *list, struct arrived *a) {
  a->next = list->first;
  list->first = a;
  if (list->last == NULL) list->last = a;
  list->count++;
}

struct arrived *arrived_take (struct arrived_list *list) {
  struct arrived *a = list->first;
  list->first = a->next;
  if (list->first == NULL) list->last = NULL;
  list->count--;
  return a;
}

int arrived_take_connection (struct arrived_list *list) {
  struct arrived *a = arrived_take(list);
  int res = a->res;
  free(a);
  return res;
}

size_t arrived_size (const struct arrived_list *list) {
  size_t size = 0;
  for (const struct arrived *a = list->first; a; a = a->next)
    size += a->rx.size + a->rx.control_size + a->rx.name_size;
  return size;
}

void arrived_free (struct arrived_list *list) {
  while (list->first) {
    struct arrived *a = arrived_take(list);
    if (a->connection && a->res >= 0) close(a->res);
    /* guard: descriptors that nothing else owns */
    if (a->rx.control_size > 0) cmsg_close(a->rx.control, a->rx.control_size);
    free(a);
  }
}
