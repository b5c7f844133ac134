/*
** A model of csrc/worker/queue*.c and csrc/ring/doorbell.c: senders that post,
** wait in a list or withdraw; a post of C, which cannot wait; a reader that
** takes messages without the lock, and never waits for it; and the loops of
** all of them, which sleep until their doorbell is rung.
**
** spin looks at every interleaving. A wakeup that is lost is a process that
** never ends, which spin reports as an invalid end state; a message that is
** lost or doubled fails an assertion.
**
** It is sequentially consistent, as spin is: it proves nothing of fences. The
** code has sequentially consistent atomics and full fences for that reason,
** where a thread stores one thing and then loads another. And its reader reads
** to the end: it serves the list at the latest when it finds the queue empty,
** so that a sender is served late is no error here.
**
** Each WITHOUT_… leaves out one step that must not be left out; tools/model.sh
** expects spin to find an error then.
*/

#ifndef TOTAL
#define TOTAL   2          /* messages */
#define COUNT(s) 1         /* ... of each */
#define SENDERS 2
#define POSTS   0          /* messages of C */
#endif
#define CAPACITY 2         /* in cost: one of two, or two of one */
#define READER  SENDERS    /* the reader's loop; the others are the senders' */
#define NONE    255

#define WAITS     1
#define ACCEPTED  2
#define WITHDRAWN 3

bool locked;               /* the queue's lock, and what is under it */
#ifdef READER_IN_C
bool wanted = true;
#else
bool wanted;
#endif
byte senders = SENDERS + POSTS;
byte accepted_cost;
chan messages = [TOTAL] of { byte };  /* the cost of each */
chan waiting = [SENDERS] of { byte };
byte result[SENDERS];

bool ask_want, ask_serve;  /* atomics, written under the lock or not */
bool linked;
byte come;                 /* messages that were accepted */
bool over;
bool senders_wait;

byte taken, taken_cost;    /* the reader's atomics */

bool ready[SENDERS + 1];   /* the doorbell of each loop */
bool armed[SENDERS + 1];
bool rung[SENDERS + 1];

byte nreceived, nwithdrawn, nrefused;

inline take_lock () { atomic { !locked -> locked = true } }

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
       :: b == READER -> linked = false
       :: else
       fi
  :: !ready[b]
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
  atomic { armed[b] = false; rung[b] = false };
  serve_ready(b)
}

/* (locked) There is something for the reader. */
#ifndef READER_IN_C
inline wake_reader () {
  atomic {
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
}
#endif

inline accept (cost) {
  atomic {
    messages!cost;
    accepted_cost = accepted_cost + cost;
    come++
  }
}

#define IN_QUEUE    (accepted_cost - taken_cost)
#define SPACE(cost) (IN_QUEUE + cost <= CAPACITY)
#define SPACE_ASIDE (IN_QUEUE <= CAPACITY)

/* What a sender's message costs: the first sender's are large. */
#define COST(s) (s == 0 -> 2 : 1)

inline no_more_wait () {
  atomic {
    if
    :: len(waiting) == 0 -> senders_wait = false
    :: else
    fi
  }
}

/* (locked) The first waiting sender, if there is space. */
inline serve_first () {
  atomic {
    if
    :: waiting?[0] && SPACE(COST(0)) -> waiting?who
    :: waiting?[1] && SPACE(COST(1)) -> waiting?who
    :: else
    fi
  };
  if
  :: who != NONE ->
       no_more_wait();
       accept(COST(who));
       atomic { result[who] = ACCEPTED; ready[who] = true };
       wake_reader()
  :: else
  fi
}

/* Do what was asked, unless another thread has the lock. */
inline attend () {
  do
  :: ask_want || ask_serve ->
       if
       :: atomic { !locked -> locked = true };
            d_step {
              do_want = ask_want; ask_want = false;
              do_serve = ask_serve; ask_serve = false
            };
            if
            :: do_want ->
                 atomic {
                   wanted = true;
#ifndef WITHOUT_A_LOOK_WHEN_WANTED
                   if
                   :: over || come > taken -> wake_reader()
                   :: else
                   fi
#endif
                 }
            :: else
            fi;
            if
            :: do_serve -> serve_first()
            :: else
            fi;
            if
            :: who != NONE -> ask_serve = true
            :: else
            fi;
            locked = false;
            if
            :: who != NONE -> ring(who)
            :: else
            fi;
            if
            :: ring_reader -> ring(READER)
            :: else
            fi;
            d_step {
              who = NONE; ring_reader = false;
              do_want = false; do_serve = false
            }
       :: else -> break
       fi
  :: else -> break
  od
}

inline unlock () {
  locked = false;
#ifndef WITHOUT_ATTENDING
  attend()
#endif
}

inline ring_if_asked () {
  if
  :: ring_now -> ring_now = false; ring(READER)
  :: else
  fi
}

/* (locked) The same for a thread that frees the lock by `unlock`. */
inline wake_reader_later () {
  atomic {
    wake_reader();
    ring_now = ring_now || ring_reader;
    ring_reader = false
  }
}

/* (locked) */
inline drop_sender () {
  atomic {
    senders--;
    over = (senders == 0)
  };
  if
  :: over -> wake_reader_later()
  :: else
  fi
}

proctype sender (byte me) {
  byte n, who = NONE;
  bool ring_reader, ring_now, do_want, do_serve, waits;
  do
  :: n < COUNT(me) ->
       n++;
       take_lock();                             /* queue_post */
       atomic {
         if
         :: len(waiting) == 0 && SPACE(COST(me)) -> accept(COST(me))
         :: else -> waits = true
         fi
       };
       if
       :: !waits -> wake_reader_later()
       :: else
       fi;
       unlock();
       ring_if_asked();
       if
       :: !waits
       :: else ->                               /* queue_wait */
            waits = false;
            take_lock();
            atomic { result[me] = WAITS; waiting!me; senders_wait = true };
            unlock();
#ifndef WITHOUT_A_CHECK_FOR_SPACE
            ask_serve = true;
            attend();
#endif
            do
            :: result[me] == WAITS -> sleep_on(me)
            :: result[me] == WAITS ->           /* queue_withdraw */
                 take_lock();
                 if
#ifdef WITHOUT_ACCEPTED_FIRST
                 :: result[me] != WITHDRAWN ->
                      atomic {
                        if
                        :: waiting??[eval(me)] -> waiting??eval(me)
                        :: else
                        fi
                      };
#else
                 :: result[me] == WAITS ->
                      waiting??eval(me);
#endif
                      atomic {
                        result[me] = WITHDRAWN;
                        nwithdrawn++;
                        no_more_wait()
                      }
                 :: else
                 fi;
                 unlock();
                 ask_serve = true;
                 attend()
            :: result[me] != WAITS -> break
            od;
            serve_ready(me)
       fi
  :: else -> break
  od;
  take_lock();
  drop_sender();
  unlock();
  ring_if_asked()
}

/* The reader: how many have come? */
inline refresh () {
  if
  :: senders_wait -> ask_serve = true; attend()
  :: else
  fi;
#ifdef WITHOUT_LOOKING_FOR_THE_END_FIRST
  seen = come;
  ended = over
#else
  ended = over;
  seen = come
#endif
}

inline take () {
  messages?cost;
  d_step { taken_cost = taken_cost + cost; taken++ }
  nreceived++;
  if
  :: senders_wait -> ask_serve = true; attend()
  :: else
  fi
}

inline nothing_is_lost () {
  assert(nreceived == come);
  assert(nreceived + nwithdrawn + nrefused == TOTAL)
}

#ifndef READER_IN_C
proctype reader () {
  byte seen, cost, who = NONE;
  bool ring_reader, do_want, do_serve, ended;
  do
  :: seen == taken ->
       refresh();
       if
       :: seen != taken
       :: seen == taken && ended -> break
       :: seen == taken && !ended ->
            ask_want = true;                    /* queue_want */
            attend();
            sleep_on(READER)
       fi
  :: seen != taken -> take()
  od;
  nothing_is_lost()
}
#endif

init {
  atomic {
    run reader();
#if POSTS
    run poster();
#endif
#if SENDERS > 1
    run sender(1);
#endif
    run sender(0)
  }
}
