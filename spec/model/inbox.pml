/*
** The model in queue.pml, with a reader in C (csrc/worker/inbox.c): an eventfd
** is written and read under the lock, in the place of the ready list and the
** doorbell. The reader sleeps until it is readable.
*/

#define TOTAL   2          /* messages */
#define COUNT(s) 1         /* ... of each */
#define SENDERS 2
#define POSTS   0
#define READER_IN_C

bool readable;

/* (locked) */
inline wake_reader () {
  atomic {
    if
    :: wanted -> wanted = false; readable = true
    :: else
    fi
  }
}

#include "queue.pml"

proctype reader () {
  byte seen, cost, who = NONE;
  bool ring_reader, ring_now, do_want, do_serve, ended, rest;
  do
  :: seen == taken ->
       refresh();
       if
       :: seen != taken
       :: seen == taken && ended -> break
       :: seen == taken && !ended ->            /* queue_rest */
#ifdef WITHOUT_THE_LOCK
            readable = false;
            wanted = true;
            rest = true;
#else
            take_lock();
            rest = (come == taken && !over);
            if
            :: rest && !wanted -> readable = false; wanted = true
            :: else
            fi;
            unlock();
#endif
            if
            :: rest -> readable
            :: else
            fi
       fi
  :: seen != taken -> take()
  od;
  nothing_is_lost()
}
