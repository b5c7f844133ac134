/*
** The model in queue.pml, with a post of C beside a sender that waits in the
** list: it does not stand in the list, and may use more space than senders
** may.
*/

#define TOTAL   3          /* messages */
#define COUNT(s) 2
#define SENDERS 1
#define POSTS   1

#include "queue.pml"

/* A thread in C: what waits does not come first, and it does not wait. (It
** goes under the same lock.) */
proctype poster () {
  byte who = NONE;
  bool ring_reader, ring_now, do_want, do_serve, refused;
  take_lock();                                  /* queue_post_aside */
  atomic {
    if
    :: SPACE_ASIDE -> accept(1)
    :: else -> refused = true; nrefused++
    fi
  };
#ifndef WITHOUT_A_WAKE_BY_POSTS
  if
  :: !refused -> wake_reader_later()
  :: else
  fi;
#endif
  drop_sender();
  unlock();
  ring_if_asked()
}
