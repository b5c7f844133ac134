/*
** A model of csrc/host/loop_fd.c: a host that sleeps until the descriptor of
** its loop is readable, then steps. Threads make work ready and ring the
** doorbell, whose eventfd is one that the host polls; the kernel adds
** completions to the ring, and signals the other, perhaps only after a step
** has taken them.
**
** A wakeup that is lost is a process that never ends: an invalid end state. A
** descriptor that stays readable for nothing fails an assertion.
**
** Each WITHOUT_… leaves out a step: see queue.pml.
*/

#define SENDERS 2
#define CQES    2
#define DOUBTS  4          /* idle steps after work that read the ring's */
#define MOST_FOR_NOTHING 12 /* steps, of a few signals: not ever more */

byte linked;               /* the ready list */
bool armed;
byte written;              /* to the eventfd, counted before it is */
byte eventfd;
byte cqes;                 /* in the ring */
bool cq;                   /* the ring's eventfd */

byte nread;                /* the loop's: what it has read of `written` */
byte entered, before;      /* changes of the ring: now, and when it was read */
byte doubt;
bool more;
byte done;                 /* work */
byte for_nothing;          /* steps */

#define AT_HAND (linked > 0 || cqes > 0)
#define NOTIFIED (written != nread)

inline write_eventfd () {
#ifdef WITHOUT_COUNTING_FIRST
  eventfd++;
  written++
#else
  written++;
  eventfd++
#endif
}

proctype sender () {
  bool won;
  linked++;
  atomic {                                      /* doorbell_wanted */
    won = armed;
    armed = false
  };
  if
  :: won -> write_eventfd()
  :: else
  fi
}

/* Each makes the CQ non-empty, or adds to what a step has not taken. */
proctype kernel () {
  byte n;
  bool first;
  do
  :: n < CQES ->
       n++;
       atomic { first = (cqes == 0); cqes++ };
       if
       :: first -> cq = true
       :: else
       fi
  :: else -> break
  od
}

inline take () {
  if
  :: AT_HAND ->
       atomic { done = done + linked; linked = 0 };
       atomic {
         if
         :: cqes > 0 -> done = done + cqes; cqes = 0; entered++
         :: else
         fi
       }
  :: else -> for_nothing++
  fi
}

/* loop_fd_settle */
inline settle () {
  more = AT_HAND;
  if
  :: !more ->
       if                                       /* read_changed */
       :: entered != before -> before = entered; cq = false; doubt = DOUBTS
       :: else
       fi;
       if
       :: NOTIFIED -> atomic { nread = nread + eventfd; eventfd = 0 }
       :: else
       fi;
       armed = true;
#ifndef WITHOUT_A_LOOK_AFTER_THE_READ
       more = AT_HAND
#endif
  :: else
  fi;
  if
  :: more ->
       armed = false;
#ifndef WITHOUT_NOTIFYING_THE_HOST
       write_eventfd()
#endif
  :: else
  fi
}

proctype host () {
  bool pending;
  armed = true;
  do
  :: cq || eventfd > 0 ->                       /* it is readable: a step */
       if
       :: AT_HAND -> pending = true
       :: else ->
            pending = NOTIFIED;                 /* loop_fd_pending */
            if
#ifndef WITHOUT_DOUBT
            :: doubt > 0 ->
                 doubt--;
                 atomic { pending = pending || cq; cq = false }
#endif
            :: else
            fi
       fi;
       if
       :: pending ->
            armed = false;                      /* loop_fd_begin */
            take();
            settle()
       :: else -> for_nothing++
       fi;
       assert(for_nothing <= MOST_FOR_NOTHING)
  :: done == SENDERS + CQES && !cq && eventfd == 0 -> break
  od
}

init {
  atomic {
    run host();
    run kernel();
    run sender();
    run sender()
  }
}
