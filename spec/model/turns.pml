/*
** A model of what csrc/worker/mailbox_receive.c adds to the queue: two tasks
** of one state that receive from one mailbox, in turns, while one of them may
** be cancelled; and of how csrc/task/turn.c tells a deadlock. Other threads
** send, serve a send of this state that waits at the mailbox, and drop their
** addresses; one of them is a worker, whose end is told as well.
**
** Each receives until no sender is left. If the state keeps an address of its
** own there is always one: then it must end in a deadlock, which must be told,
** and not before the other threads can do nothing more. The loop may ask at
** any moment before it sleeps.
**
** The lock's other details are in queue.pml: here what is done under it is one
** step, and what a reader asks for is done at once.
*/

/* The queue. */
bool wanted, linked, over;
byte others, come, taken;
byte senders = 2;
bool had_own;                /* the state keeps an address */
byte owners = 3, own = 1;    /* the mailbox, and two threads */

/* The doorbell. */
bool ready_queue, ready_send, ready_worker;
bool armed, rung;
byte bells = 4;              /* the ring's, the queue's, the send's, the
                                worker's */

/* A send of this state in the list of senders. */
bool send_waits = true;

/* The tasks, and the mailbox's turns. */
#define READY   0
#define WAITS   1
#define ENDED   2
byte task[2];
bool has_turn[2];
byte turns;
chan waiting = [2] of { byte };

byte able = 2;               /* threads that may still wake something */
bool send_ended;

inline ring () {
  atomic {
    if
    :: armed -> armed = false; rung = true
    :: else
    fi
  }
}

/* (locked) */
inline wake_reader () {
  if
  :: wanted ->
       wanted = false; rings = true; bells++;
       if
       :: !linked -> linked = true; ready_queue = true; owners++
       :: else
       fi
  :: else
  fi
}

/* (without the lock) */
inline ring_now () {
  if
  :: rings -> rings = false; ring(); bells--
  :: else
  fi
}

/* ---- other threads ------------------------------------------------------ */

proctype thread (bool is_worker) {
  bool rings, served;
  atomic { come++; wake_reader() };                        /* queue_post */
  ring_now();
  atomic {                            /* queue_withdraw: a send gets space */
    if
    :: !is_worker && send_waits ->
         send_waits = false; served = true; ready_send = true
    :: else
    fi
  };
  if
  :: served -> ring(); bells--        /* (the send's count) */
  :: else
  fi;
  atomic {                                          /* queue_drop_sender */
    senders--;
    over = (senders == 0);
    if
    :: over -> wake_reader()
    :: else
    fi;
    if
    :: !is_worker -> able--
    :: else
    fi
  };
  ring_now();
  owners--;
  if
  :: is_worker ->                                   /* end_thread */
       atomic { ready_worker = true; able-- };
       ring();
       bells--
  :: else
  fi
}

/* ---- the loop ----------------------------------------------------------- */

/* queue_want */
inline want () {
  atomic {
    others = turns;
    wanted = true;
#ifndef WITHOUT_A_LOOK_WHEN_WANTED
    if
    :: over || come - taken > others -> wake_reader()
    :: else
    fi
#endif
  };
  ring_now()
}

inline wake_next () {
  if
  :: len(waiting) > 0 -> want()
  :: else
  fi
}

inline lose_turn (t) {
  if
#ifndef WITHOUT_THE_END_OF_A_TURN
  :: has_turn[t] -> has_turn[t] = false; turns--
#endif
  :: else -> has_turn[t] = false
  fi
}

inline end_turn (t) {
  d_step { lose_turn(t) };
#ifndef WITHOUT_WAKING_THE_NEXT
  wake_next()
#endif
}

/* mailbox_woken */
inline woken () {
  now_come = come - taken;
  if
  :: now_come == 0 && over ->
       do
       :: len(waiting) > 0 -> waiting?t; task[t] = READY
       :: else -> break
       od
  :: else ->
       do
       :: len(waiting) > 0 ->
            waiting?t; task[t] = READY; has_turn[t] = true; turns++;
            if
            :: turns < now_come
            :: else -> break
            fi
       :: else -> break
       od
  fi
}

inline serve_ready () {
  if
  :: ready_queue ->
       ready_queue = false; linked = false;
       woken();
       owners--
  :: else
  fi;
  d_step {
    if
    :: ready_send -> ready_send = false; send_ended = true
    :: else
    fi;
    ready_worker = false
  }
}

/* turnq_may_take */
#define MAY_TAKE(t) (has_turn[t] || (now_come > turns && len(waiting) == 0))

/* The task runs: receive, until it has to wait. */
inline resume (t) {
  do
  :: task[t] == READY ->
       d_step { ended = over; now_come = come - taken };
       if
       :: now_come > 0 && MAY_TAKE(t) ->
            taken++;
            end_turn(t)
       :: now_come == 0 && ended ->
            task[t] = ENDED;
            end_turn(t)
       :: else ->                                   /* mailbox_block */
            d_step {
              task[t] = WAITS;
              if
              :: has_turn[t] && len(waiting) > 0 ->  /* at the front */
                   waiting?other; waiting!t; waiting!other
              :: else -> waiting!t
              fi;
              lose_turn(t)
            };
            wake_next()
       fi
  :: else -> break
  od
}

/* The second task is cancelled, whatever it does. */
inline cancel_task () {
  if
  :: task[1] == ENDED
  :: else ->
       d_step {
         if
         :: task[1] == WAITS -> waiting??1
         :: else
         fi;
         task[1] = ENDED
       };
#ifdef WITHOUT_A_WAKE_AT_A_CANCEL
       d_step { lose_turn(1) }
#else
       end_turn(1)
#endif
  fi
}

/* rings_alone. Bells: of the ring, and of what is only the state's. */
inline look_for_a_deadlock () {
  counted = 1;
#ifdef WITHOUT_COUNTING_THE_QUEUE
  counted = counted + 1 + send_waits;
#else
  if
  :: owners == own -> counted = counted + 1 + send_waits
  :: else
  fi;
#endif
#ifdef WITHOUT_LOOKING_LAST
  nothing = !ready_queue && !ready_send && !ready_worker;
  told = (bells == counted) && nothing
#else
#ifdef WITHOUT_COUNTING_THE_BELL
  told = (counted > 1);
#else
  told = (bells == counted);
#endif
#ifndef WITHOUT_A_LOOK_AT_THE_READY
  told = told && !ready_queue && !ready_send && !ready_worker
#endif
#endif
}

proctype loop () {
  byte t, other, now_come, counted;
  bool ended, told, nothing, may_cancel, rings;
  if
  :: may_cancel = true
  :: may_cancel = false
  fi;
  do
  :: resume(0);
     resume(1);
     serve_ready();
     if
     :: may_cancel -> may_cancel = false; cancel_task()
     :: true
     fi;
     if
     :: task[0] == READY || task[1] == READY
     :: task[0] == ENDED && task[1] == ENDED -> break
     :: else ->
          if
          :: !may_cancel -> look_for_a_deadlock()
          :: true
          fi;
          if
          :: told -> break
          :: else
          fi;
          armed = true;
          if
#ifndef WITHOUT_THE_LAST_LOOK
          :: ready_queue || ready_send || ready_worker
#endif
          :: rung
          :: may_cancel                             /* (its time has come) */
          :: timeout ->
               /* All others have ended, and nothing has rung: after a nap it
                  must be a deadlock. */
               may_cancel = false;
               look_for_a_deadlock();
               assert(told);
               break
          fi;
          d_step { armed = false; rung = false }
          serve_ready()
     fi
  od;
  if
  :: told ->
       assert(able == 0 && come == taken && !over);  /* none may wake it */
       assert(!ready_queue && !ready_send && !ready_worker);
       assert(had_own)
  :: else -> assert(come == taken)                  /* nothing is lost */
  fi
}

init {
  atomic {
    if
    :: had_own = true; senders++; owners++; own++
    :: true
    fi;
    run loop();
    run thread(false);
    run thread(true)
  }
}
