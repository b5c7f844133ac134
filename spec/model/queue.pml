/*
** A model of csrc/worker/queue.c and csrc/ring/doorbell.c: senders that post,
** wait in a list or withdraw; a reader that takes messages without the lock;
** and the loops of all of them, which sleep until their doorbell is rung.
**
** spin looks at every interleaving. A wakeup that is lost is a process that
** never ends, which spin reports as an invalid end state; a message that is
** lost or doubled fails an assertion.
**
** It is sequentially consistent, as spin is: it proves nothing of fences. The
** code has `taken` and `senders_wait` as sequentially consistent atomics, and
** full fences in the doorbell, for that reason. And its reader reads to the
** end: it serves the list at the latest when it finds the queue empty, so that
** a sender is served late is no error here.
**
** Each WITHOUT_… leaves out one step that must not be left out; tools/model.sh
** expects spin to find an error then.
*/

#define SENDERS 2
#define TOTAL   3          /* messages: one of the first, two of the second */
#define COUNT(s) (s + 1)
#define CAPACITY 2         /* in cost: one of two, or two of one */
#define READER  SENDERS    /* the reader's loop; the others are the senders' */

#define WAITS     1
#define ACCEPTED  2
#define WITHDRAWN 3

bool locked;               /* the queue's lock, and what is under it */
bool wanted, linked;
byte senders = SENDERS;
byte naccepted, accepted_cost;
chan messages = [TOTAL] of { byte };  /* the cost of each */
chan waiting = [SENDERS] of { byte };
byte result[SENDERS];

byte taken, taken_cost;    /* the reader's atomics */
bool senders_wait;

bool ready[SENDERS + 1];   /* the doorbell of each loop */
bool armed[SENDERS + 1];
bool rung[SENDERS + 1];

byte nreceived, nwithdrawn;

inline take_lock () { atomic { !locked -> locked = true } }
inline free_lock () { locked = false }

inline ring (b) {
  atomic {
    if
    :: armed[b] -> armed[b] = false; rung[b] = true
    :: else
    fi
  }
}

/* Serve the ready list, as the loop does in each turn. */
inline serve_ready (b) {
  if
  :: ready[b] ->
       ready[b] = false;
       if
       :: b == READER -> take_lock(); linked = false; free_lock()
       :: else
       fi
  :: else
  fi
}

inline sleep_on (b) {
  armed[b] = true;
#ifdef WITHOUT_THE_LAST_LOOK
  rung[b];
#else
  if
  :: ready[b]
  :: !ready[b] -> rung[b]
  fi;
#endif
  armed[b] = false;
  rung[b] = false;
  serve_ready(b)
}

/* (locked) There is something for the reader. */
inline wake_reader (ring_reader) {
  if
  :: wanted ->
       wanted = false;
       ring_reader = true;
       if
       :: !linked -> assert(!ready[READER]); linked = true;
                     ready[READER] = true
#ifdef WITHOUT_LINKED
       :: linked -> assert(!ready[READER]); ready[READER] = true
#else
       :: else
#endif
       fi
  :: else
  fi
}

inline accept (cost) {
  messages!cost;
  naccepted++;
  accepted_cost = accepted_cost + cost
}

#define SPACE(cost) (accepted_cost - taken_cost + cost <= CAPACITY)

/* What a sender's message costs: the first sender's are large. */
#define COST(s) (s == 0 -> 2 : 1)

inline serve_waiting (who, ring_reader, more) {
  more = true;
  do
  :: more ->
       ring_reader = false;
       take_lock();
       if
       :: waiting?[0] && SPACE(COST(0)) -> waiting?who
       :: waiting?[1] && SPACE(COST(1)) -> waiting?who
       :: else -> more = false
       fi;
       if
       :: more ->
            if
            :: empty(waiting) -> senders_wait = false
            :: else
            fi;
            accept(COST(who));
            result[who] = ACCEPTED;
            ready[who] = true;
            wake_reader(ring_reader)
       :: else
       fi;
       free_lock();
       if
       :: more -> ring(who)
       :: else
       fi;
       if
       :: ring_reader -> ring(READER)
       :: else
       fi
  :: else -> break
  od
}

proctype sender (byte me) {
  byte n, who;
  bool ring_reader, more, waits;
  do
  :: n < COUNT(me) ->
       n++;
       ring_reader = false;
       take_lock();
       if
       :: empty(waiting) && SPACE(COST(me)) ->
            accept(COST(me));
            wake_reader(ring_reader);
            waits = false
       :: else -> waits = true
       fi;
       free_lock();
       if
       :: ring_reader -> ring(READER)
       :: else
       fi;
       if
       :: !waits
       :: else ->                               /* queue_wait */
            take_lock();
            result[me] = WAITS;
            waiting!me;
            senders_wait = true;
            free_lock();
#ifndef WITHOUT_A_CHECK_FOR_SPACE
            serve_waiting(who, ring_reader, more);
#endif
            do
            :: result[me] == WAITS -> sleep_on(me)
            :: result[me] == WAITS ->           /* queue_withdraw */
                 take_lock();
                 if
#ifdef WITHOUT_ACCEPTED_FIRST
                 :: result[me] != WITHDRAWN ->
                      if
                      :: waiting??[eval(me)] -> waiting??eval(me)
                      :: else
                      fi;
#else
                 :: result[me] == WAITS ->
                      waiting??eval(me);
#endif
                      result[me] = WITHDRAWN;
                      nwithdrawn++;
                      if
                      :: empty(waiting) -> senders_wait = false
                      :: else
                      fi
                 :: else
                 fi;
                 free_lock();
                 serve_waiting(who, ring_reader, more)
            :: result[me] != WAITS -> break
            od;
            serve_ready(me)
       fi
  :: else -> break
  od;
  ring_reader = false;
  take_lock();
  senders--;
  if
  :: senders == 0 -> wake_reader(ring_reader)
  :: else
  fi;
  free_lock();
  if
  :: ring_reader -> ring(READER)
  :: else
  fi
}

proctype reader () {
  byte seen, who, cost;
  bool ring_reader, more, over;
  do
  :: seen == taken ->                           /* look */
       if
       :: senders_wait -> serve_waiting(who, ring_reader, more)
       :: else
       fi;
       take_lock();
       seen = naccepted;
       over = (senders == 0);
       free_lock();
       if
       :: seen != taken
       :: seen == taken && over -> break
       :: seen == taken && !over ->
            take_lock();                        /* queue_want */
            wanted = true;
#ifndef WITHOUT_A_LOOK_WHEN_WANTED
            if
            :: senders == 0 || naccepted > taken -> wake_reader(ring_reader)
            :: else
            fi;
#endif
            free_lock();
            sleep_on(READER)
       fi
  :: seen != taken ->                           /* queue_taken */
       messages?cost;
       d_step { taken_cost = taken_cost + cost; taken++ }
       nreceived++;
       if
       :: senders_wait -> serve_waiting(who, ring_reader, more)
       :: else
       fi
  od;
  assert(nreceived == naccepted);
  assert(nreceived + nwithdrawn == TOTAL)
}

init {
  atomic {
    run reader();
    run sender(0);
    run sender(1)
  }
}
