/*
** owned: see the header. For each kind it has what makes the block in
** a message, withdraws it, lends it, and gives it to the reader's object. What
** must not break: at each moment it has one owner, the sender's object, the
** message or the reader's.
*/

#include "compat.h"
#include "worker/owned.h"

#include "api/buf_ring.h"
#include "api/fd.h"
#include "api/ref_object.h"
#include "worker/mail_address.h"
#include "worker/served_call.h"

#include <stdlib.h>


/* ---- blocks ------------------------------------------------------------ */

struct message_block owned_address (struct queue *q) {
  refblock_retain(&q->block);
  return (struct message_block){ q, 0, queue_release_sender,
                                 queue_add_sender(q) ? q : NULL };
}

static void release_ring (void *ud, const void *p, size_t len) {
  struct handle *ring = (struct handle *)(uintptr_t)p;
  (void)ud; (void)len;
  refblock_release(&ring->block);
}

struct message_block owned_ring (struct handle *ring) {
  refblock_retain(&ring->block);
  return (struct message_block){ ring, 0, release_ring, NULL };
}

static void release_buffer (void *ud, const void *p, size_t len) {
  struct memory *m = ud;
  (void)p; (void)len;
  refblock_release(&m->block);
}

struct message_block owned_buffer (struct memory *m) {
  return (struct message_block){ m->bytes, m->size, release_buffer, m };
}

static void release_parcel (void *ud, const void *p, size_t len) {
  (void)p; (void)len;
  parcel_free(ud);
}

struct message_block owned_socket (struct parcel *p) {
  return (struct message_block){ p, 0, release_parcel, p };
}

void owned_count (struct message *m) {
  uint64_t *cell = m->cells;
  if (!(m->flags & MESSAGE_OWNS))
    return;
  for (; cell < message_end(m); cell += message_cells(*cell)) {
    if (message_kind(*cell) == MESSAGE_ADDRESS) {
      struct message_block b = message_block(cell);
      b = owned_address((struct queue *)(uintptr_t)b.p);
      message_put_block(cell, MESSAGE_ADDRESS, &b);
    }
    else if (message_kind(*cell) == MESSAGE_RING)
      owned_ring((struct handle *)(uintptr_t)message_block(cell).p);
  }
}

static void withdraw (uint64_t *cell) {
  if (message_kind(*cell) == MESSAGE_FD)
    *cell = message_cell(MESSAGE_NIL, 0);  /* guard: not closed with it */
  else if (message_is_block(*cell)) {
    struct message_block b = message_take_block(cell);
    if (message_kind(*cell) == MESSAGE_ADDRESS) {
      struct queue *q = b.ud ? b.ud : (struct queue *)(uintptr_t)b.p;
      queue_undo_sender(q, b.ud != NULL);
      refblock_release(&q->block);
    }
    else if (message_kind(*cell) == MESSAGE_RING)
      b.release(b.ud, b.p, b.len);
    else if (message_kind(*cell) == MESSAGE_SLOT)
      refblock_release(&((struct call *)b.ud)->block);  /* (not lost) */
  }
}

void owned_withdraw_plain (struct message *m) {
  uint64_t *cell = m->cells;
  for (; cell < message_end(m); cell += message_cells(*cell)) withdraw(cell);
}

/* The next cell, from this one on, of this kind; NULL: there is none. */
static uint64_t *next_of (struct message *m, uint64_t *cell,
                          enum message_kind kind) {
  while (cell < message_end(m) && message_kind(*cell) != kind)
    cell += message_cells(*cell);
  return cell < message_end(m) ? cell : NULL;
}

void owned_withdraw (lua_State *L, const struct moved *moved,
                     struct message *m) {
  uint64_t *cell = m->cells;
  for (unsigned i = 0; i < moved->nbuffers; i++)
    buffer_stay(moved->buffers[i]);
  for (unsigned i = 0; i < moved->nsockets; i++) {
    cell = next_of(m, cell, MESSAGE_SOCKET);
    socket_unpack(L, moved->sockets[i], message_take_block(cell).ud);
    cell += message_cells(*cell);
  }
  owned_withdraw_plain(m);
}


/* ---- what moves -------------------------------------------------------- */

static void fds_sent (struct handle *const *fds, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    handle_send(fds[i]);
}

void owned_sent (lua_State *L, const struct moved *moved) {
  fds_sent(moved->fds, moved->nfds);
  for (unsigned i = 0; i < moved->nbuffers; i++)
    buffer_sent(L, moved->buffers[i]);  /* (the count is the message's) */
  for (unsigned i = 0; i < moved->nsockets; i++)
    socket_sent(L, moved->sockets[i]);
}

static void lent_end (struct lent *lent) {
  while (lent->nfds > 0) refblock_release(&lent->fds[--lent->nfds]->block);
  while (lent->nbuffers > 0)
    refblock_release(&lent->buffers[--lent->nbuffers]->block);
  free(lent);
}

/* A record, with a loan for each buffer; NULL: no memory. */
static struct lent *lent_new (const struct moved *moved) {
  struct lent *lent = calloc(1, sizeof(*lent));
  for (unsigned i = 0; lent && i < moved->nbuffers; i++) {
    if ((lent->buffers[i] = buffer_loan_new()) == NULL) {
      lent_end(lent);
      return NULL;
    }
    lent->nbuffers++;
  }
  return lent;
}

bool owned_lend (lua_State *L, const struct moved *moved,
                 const _Atomic bool *sent, struct lent **to) {
  struct lent *lent;
  *to = NULL;
  if (moved->nbuffers + moved->nfds == 0)
    return true;
  lent = *to = lent_new(moved);
  if (lent == NULL)
    return false;
  for (unsigned i = 0; i < moved->nbuffers; i++)
    buffer_lend(L, moved->buffers[i], lent->buffers[i]);
  for (; lent->nfds < moved->nfds; lent->nfds++) {
    lent->fds[lent->nfds] = moved->fds[lent->nfds];
    refblock_retain(&moved->fds[lent->nfds]->block);
    handle_lend(moved->fds[lent->nfds], sent);
  }
  for (; lent->nsockets < moved->nsockets; lent->nsockets++)
    socket_lend(L, moved->sockets[lent->nsockets],
                &lent->sockets[lent->nsockets]);
  return true;
}

void owned_lent_sent (struct lent *lent) {
  if (lent == NULL)
    return;
  fds_sent(lent->fds, lent->nfds);
  for (unsigned i = 0; i < lent->nbuffers; i++)
    buffer_loan_sent(lent->buffers[i]);
  for (unsigned i = 0; i < lent->nsockets; i++)
    socket_lent_sent(&lent->sockets[i]);
  lent_end(lent);
}

static void give_back (lua_State *L, struct lent *lent, struct message *m) {
  uint64_t *cell = m->cells;
  for (unsigned i = 0; i < lent->nbuffers; i++) {
    cell = next_of(m, cell, MESSAGE_BUFFER);
    buffer_loan_back(lent->buffers[i], message_block(cell).ud);
    cell += message_cells(*cell);
  }
  for (unsigned i = 0; i < lent->nfds; i++) handle_take_back(lent->fds[i]);
  cell = m->cells;
  for (unsigned i = 0; i < lent->nsockets; i++) {
    cell = next_of(m, cell, MESSAGE_SOCKET);
    socket_lent_back(L, &lent->sockets[i], message_take_block(cell).ud);
    cell += message_cells(*cell);
  }
  lent_end(lent);
}

void owned_lent_back (lua_State *L, struct lent *lent, struct message *m) {
  if (lent) give_back(L, lent, m);
  owned_withdraw_plain(m);
}


/* ---- the reader's ------------------------------------------------------ */

/* A block's lease, as yet of no bytes. */
static void push_empty_lease (lua_State *L) {
  struct lease **own = lease_push(L), *lease = lease_alloc();
  if (lease == NULL)
    luaL_error(L, "not enough memory for a lease");
  lease_fill_empty(lease);
  lease_set(L, own, lease);
}

/* The bytes count for this state from then on, so there must be room. */
static void push_empty_buffer (lua_State *L, size_t size) {
  pressure_tell(L, size, 0);
  buffer_push(L);
  if (!account_has_room(state_of(L)->account, size))
    luaL_error(L, "not enough memory for a buffer of %I bytes%s",
               (LUAI_UACINT)size, state_memory_note(L));
}

void owned_push (lua_State *L, const uint64_t *cell) {
  switch (message_kind(*cell)) {
    case MESSAGE_FD: fd_push(L); break;
    case MESSAGE_BLOCK: push_empty_lease(L); break;
    case MESSAGE_ADDRESS: mail_address_new(L); break;
    case MESSAGE_RING: reference_new(L); break;
    case MESSAGE_SLOT: served_call_new(L); break;
    case MESSAGE_SOCKET: socket_push_for(L, message_block(cell).ud); break;
    default: push_empty_buffer(L, (size_t)message_count(*cell));
  }
}

static void give_fd (lua_State *L, int index, uint64_t *cell) {
  const struct fd *f = lua_touserdata(L, index);
  int number = (int)message_count(*cell);
  *cell = message_cell(MESSAGE_NIL, 0);  /* (no more the message's) */
  handle_own(&state_of(L)->handles, f->d, number);
}

static void give_lease (lua_State *L, int index,
                        const struct message_block *b) {
  struct lease **own = lua_touserdata(L, index), *lease = *own;
  lease_set(L, own, NULL);  /* (its weight changes) */
  lease_set_foreign(lease, b->p, (uint32_t)b->len, b->release, b->ud);
  lease_set(L, own, lease);
}

void owned_give (lua_State *L, int index, uint64_t *cell) {
  void *object = lua_touserdata(L, index);
  struct message_block b;
  if (message_kind(*cell) == MESSAGE_FD) {
    give_fd(L, index, cell);
    return;
  }
  b = message_take_block(cell);
  switch (message_kind(*cell)) {
    case MESSAGE_BLOCK: give_lease(L, index, &b); break;
    case MESSAGE_ADDRESS:  /* (the message's count, and sender, is its now) */
      mail_address_take(class_memory(CLASS_ADDRESS, object),
                        (struct queue *)(uintptr_t)b.p);
      break;
    case MESSAGE_RING:
      ((struct reference *)object)->ring = (struct handle *)(uintptr_t)b.p;
      break;
    case MESSAGE_SLOT: ((struct call_handle *)object)->call = b.ud; break;
    case MESSAGE_SOCKET:
      socket_adopt(L, class_memory(CLASS_SOCKET, object), b.ud);
      break;
    default: buffer_adopt(L, object, b.ud);
  }
}
