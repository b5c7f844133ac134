/*
** A model of the offers in csrc/worker/queue_waiting.c: senders with messages,
** and askers, which are woken when there is space, and then post, or choose
** something else. One asker's loop may be a host's that does not step: it then
** stays in the list, with an offer or without. The others must not wait for
** it. The other asker is in the reader's state, so it runs when the reader
** does.
**
** The lock, the doorbells and what a reader asks for are in queue.pml: here
** what is done under the lock is one step, and a wakeup is seen at once. What
** may go wrong is the rule: a sender, or the reader, that waits for ever is an
** invalid end state.
**
** Each WITHOUT_… leaves out one part of the rule.
*/

#define CAPACITY 1         /* messages */
#define N        4         /* senders: */
#define ASKER    2         /* ... from this one on askers */
#define OWN      3         /* ... in the reader's state */
#define NONE     255

#define WAITS     1
#define ACCEPTED  2
#define TRY_AGAIN 3
#define WITHDRAWN 4

byte result[N];
byte place[N];             /* in the list; 0: not in it */
bool offered[N];
bool holds[N];             /* ... and its space is held */
byte places;
byte held;

byte senders = N;          /* that may still send; not the one that stops */
byte come, taken, nsent;
bool wanted;               /* the reader sleeps */

#ifdef WITHOUT_HOLDING
#define SPACE  (come - taken < CAPACITY)
#else
#define SPACE  (come - taken + held < CAPACITY)
#endif
#define SPACE_ASIDE (SPACE || come - taken <= CAPACITY)

#define WANTS_ONE(s) (place[s] > 0 && !offered[s])
#define BEFORE(s, other) (place[s] < place[other])

/* The first of the list that has no offer. */
inline find_first () {
  first = NONE;
  i = 0;
  do
  :: i == N -> break
  :: else ->
       if
       :: WANTS_ONE(i) && (first == NONE || BEFORE(i, first)) -> first = i
       :: else
       fi;
       i++
  od;
  i = 0
}

inline accept () {
  come++;
  nsent++;
  wanted = false
}

inline end_offer (s) {
  if
  :: holds[s] -> held--; holds[s] = false
  :: else
  fi;
  offered[s] = false
}

inline leave (s) {
  end_offer(s);
  place[s] = 0
}

/* The space of offers is held no longer, but for the reader's own state. */
inline give_up_offers () {
  if
#ifdef WITHOUT_GIVING_UP
  :: holds[ASKER]
#else
  :: holds[ASKER] -> holds[ASKER] = false; held--
#endif
  :: else
  fi
}

/* Serve the list, as far as there is space. */
inline serve () {
  find_first();
  do
  :: first == NONE || !SPACE -> break
  :: else ->
       if
       :: first < ASKER ->
            leave(first);
            accept();
            result[first] = ACCEPTED
       :: else ->
            offered[first] = true;
            result[first] = TRY_AGAIN;
#ifdef WITHOUT_A_LOOK_AT_THE_READER
            holds[first] = true;
#else
            holds[first] = (first == OWN || !wanted);
#endif
            if
            :: holds[first] -> held++
            :: else
            fi
       fi;
       find_first()
  od;
  first = NONE
}

inline join () {
  places++;
  place[me] = places;
  result[me] = WAITS;
  serve()
}

proctype sender (byte me) {
  byte first = NONE, i;
  bool waits;
  atomic {                                      /* queue_post */
    find_first();
#ifdef WITHOUT_STANDING_BEHIND
    first = NONE;
#endif
    if
    :: first == NONE && SPACE ->
         assert(!(place[1 - me] > 0));
         accept()
    :: else -> waits = true
    fi;
    first = NONE
  };
  if
  :: waits ->
       atomic { join() };                       /* queue_wait */
       result[me] == ACCEPTED
  :: else
  fi;
  atomic { senders--; wanted = (senders == 0 -> false : wanted) }
}

proctype asker (byte me) {
  byte first = NONE, i;
  bool patient;            /* it chooses nothing else */
  if
  :: patient = true
  :: patient = false
  fi;
  atomic { join() };
  do
  :: result[me] == TRY_AGAIN ->
       atomic {                                 /* queue_post_offered */
         if
         :: SPACE_ASIDE ->
              leave(me);
              accept();
              result[me] = ACCEPTED
         :: else ->
              assert(!holds[me]);  /* (it was held for it) */
              end_offer(me);
              result[me] = WAITS
         fi
       }
  :: !patient && (result[me] == TRY_AGAIN || result[me] == WAITS) ->
       atomic {                                 /* queue_withdraw */
         leave(me);
         result[me] = WITHDRAWN;
         serve()
       }
  :: me != OWN && result[me] != ACCEPTED && result[me] != WITHDRAWN ->
       break                                    /* its host does not step */
  :: result[me] == ACCEPTED || result[me] == WITHDRAWN -> break
  od;
  atomic { senders--; wanted = (senders == 0 -> false : wanted) }
}

proctype reader () {
  byte first = NONE, i;
  do
  :: come > taken ->
       taken++;                                 /* (without the lock) */
       atomic { serve() }
  :: come == taken ->
       atomic { give_up_offers(); serve() };
       if
       :: come == taken && senders == 0 -> break
       :: come == taken && senders > 0 ->
            atomic {
              wanted = (come == taken && senders > 0);
              give_up_offers();
              serve()
            };
            atomic {
              /* none waits without an offer while there is space */
              find_first();
              assert(!wanted || first == NONE || !SPACE);
              first = NONE
            };
            !wanted
       :: come > taken
       fi
  od;
  assert(taken == nsent);
  assert(result[0] != WAITS && result[1] != WAITS)
}

init {
  atomic {
    run reader();
    run sender(0);
    run sender(1);
    run asker(ASKER);
    run asker(OWN)
  }
}
