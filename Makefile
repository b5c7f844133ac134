# uring: `make help` lists the targets.
#
#   build/uring/core.so          the module, as `require "uring.core"` finds it
#   build/liburing_lua.a         the same to link statically into a host
#   build/fault/uring/core.so    the same with faults injected below csrc/ring/sys.c
#   build/asan…, asan-fault…     both again, under ASAN and UBSAN
#   build/tsan…                  the module and a host in C, under TSAN
#   build/spec/uring_spec.so     what the specs need in C
#   build/c/test_*               the C tests of modules without Lua
#   build/examples/game          a host in C
#   build/apicheck/              a Lua that checks itself
#   build/bench/*                the C floors of the benchmarks
#   build/obj/VARIANT/           objects and their dependencies

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

BUILD   ?= build
LUA     ?= lua5.4
CFLAGS  ?= -O2 -g
LIBFLAG ?= -shared
OBJCOPY ?= objcopy

# --- what is built ----------------------------------------------------------

# The one list of the module's C sources: the rockspec builds by this file.
SRC       := $(sort $(wildcard csrc/*.c csrc/*/*.c)) $(BUILD)/gen/lua_files.c
LUA_FILES := $(sort $(wildcard lua/*.lua lua/*/*.lua lua/*/*/*.lua \
  lua/*/*/*/*.lua))
EMBED     := $(filter-out lua/uring/meta.lua,$(LUA_FILES))
GAME      := $(sort $(wildcard examples/game/*.c))
BENCH     := $(patsubst bench/%.c,%,$(sort $(wildcard bench/*.c)))

# csrc/ring/sys.c alone enters the kernel, so replacing it injects every fault.
# sys_fault.c includes the original. It also stands between the module and
# malloc.
FAULT     := $(wildcard spec/c/sys_fault.c)
FAULT_SRC := $(filter-out csrc/ring/sys.c,$(SRC)) $(FAULT)
WRAP      := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=uname

HELPER          := $(wildcard spec/c/helper*.c)
SPEC_HELPER_SRC := $(HELPER)

# The modules each C test is linked with; where none are named, its namesake.
CTEST := $(patsubst spec/c/test_%.c,%,$(sort $(wildcard spec/c/test_*.c)))
CTEST_op_table := op_table handle refblock fork_id
CTEST_account := refblock
CTEST_handle := handle refblock fork_id
CTEST_doorbell := doorbell handle refblock fork_id sys
CTEST_spin := spin $(CTEST_doorbell)
CTEST_queue := queue queue_chunks queue_reader queue_waiting queue_wake message lock doorbell handle refblock fork_id sys
CTEST_worker_thread := worker_thread $(CTEST_queue)
CTEST_call := call message lock doorbell handle refblock fork_id sys
CTEST_message := values $(CTEST_queue)
CTEST_name_table := name_table $(CTEST_queue)
CTEST_inbox := inbox box values $(CTEST_name_table)
CTEST_buf_group := buf_group refblock recvmsg_out
CTEST_thread_pool := doorbell handle refblock fork_id sys  # (it includes it)

# Those whose threads share memory: tested under TSAN as well.
TSAN := call doorbell lock queue inbox spin thread_pool worker_thread

# --- how --------------------------------------------------------------------

# Headers of others are system headers, so that the strict build does not
# judge their inline functions. /usr/include is one already.
LUA_PC     ?= $(notdir $(LUA))
LUA_INCDIR ?= $(patsubst -I%,%,$(shell \
  pkg-config --cflags-only-I $(LUA_PC) 2>/dev/null))
LUA_LIBS   ?= $(or $(shell pkg-config --libs $(LUA_PC) 2>/dev/null),-l$(LUA_PC))
INCLUDE    := -Icsrc -Iinclude $(addprefix -isystem ,$(filter-out /usr/include,\
  $(LIBURING_INCDIR) $(LUA_INCDIR)))
LIBS       := $(addprefix -L,$(LIBURING_LIBDIR)) -luring -pthread
HOUSE      := -std=gnu11 -D_GNU_SOURCE -fPIC -fno-plt -fvisibility=hidden -pthread

# lua_close unloads C modules, and threads may still be inside: hence nodelete.
MODULE     := $(LIBFLAG) -Wl,-z,nodelete

SANITIZE := -fsanitize=address,undefined,float-cast-overflow \
  -fno-sanitize-recover=undefined,float-cast-overflow

STRICT := -O2 -Werror -Wall -Wextra -Wshadow -Wstrict-prototypes \
  -Wmissing-prototypes -Wmissing-declarations -Wold-style-definition \
  -Wconversion -Wsign-conversion -Wcast-qual -Wpointer-arith \
  -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wimplicit-fallthrough

# Where the compiler can it sees all modules at once, which saves a tenth of a
# task's life. Whatever else is linked of the same objects does without.
LTO := $(shell out=$$(mktemp) && echo 'int x;' | $(CC) -flto=auto \
  -ffat-lto-objects -fPIC -shared -x c -o $$out - 2>/dev/null \
  && echo -flto=auto -ffat-lto-objects; rm -f $$out)
NO_LTO := $(if $(LTO),-fno-lto)

# A variant is a compiler and its flags.
VARIANTS := plain asan tsan strict-gcc strict-clang
ASAN_CC  ?= gcc
CC_plain = $(CC)
CC_asan  = $(ASAN_CC)
CC_tsan  = $(CC)
CC_strict-gcc    = gcc
CC_strict-clang  = clang
FLAGS_plain = $(CFLAGS) $(LTO)
FLAGS_asan  = -O1 -g -fno-omit-frame-pointer $(SANITIZE)
FLAGS_tsan = -O1 -g -fno-omit-frame-pointer -fsanitize=thread
FLAGS_strict-gcc = $(STRICT) -Wlogical-op -Wduplicated-cond
FLAGS_strict-clang = $(STRICT)

export LUA ASAN_CC

# objects(variant, sources)
objects = $(patsubst %.c,$(BUILD)/obj/$1/%.o,$2)

# A short line for each file that is made; V=1 shows the commands whole.
Q := $(if $(filter-out 0,$(V)),,@)
say = $(if $(Q),@printf '  %-5s %s\n' $1 $2)

# --- targets ----------------------------------------------------------------

.PHONY: all lib test check sanitize demo demo-rings demo-dns demo-host bench
.PHONY: bench-plots matrix kernels guards install soak sweep tsan model apicheck
.PHONY: clean constants help
.PHONY: FORCE tests-plain tests-asan

all: $(BUILD)/uring/core.so ## build the module into build/ (the default)

lib: $(BUILD)/liburing_lua.a ## build/liburing_lua.a, to link into a host

test: tests-plain ## C tests and specs; SPEC=spec/x_spec.lua for one
	@tools/test.sh plain $(SPEC)

sanitize: tests-asan ## the same under ASAN and UBSAN, leaks reported
	@tools/test.sh asan $(SPEC)

tsan: export TSAN_OPTIONS := halt_on_error=1
tsan: $(TSAN:%=$(BUILD)/tsan/c/test_%) ## what threads share, under TSAN: C tests, a host in C
tsan: $(BUILD)/tsan/uring/core.so $(BUILD)/tsan/c/host_api
	@for t in $(filter-out %.so %/host_api,$^); do echo "== $$t"; \
	  timeout 600 $$t || exit; done
	@$(BUILD)/tsan/c/host_api | while read -r t; do echo "== $$t"; \
	  timeout 600 tools/env.sh tsan $(BUILD)/tsan/c/host_api "$$t" || exit; done

apicheck: tests-plain ## the specs with a Lua that checks itself and how it is used; SPEC=...
	@tools/apicheck.sh $(SPEC)

model: ## the queue and the doorbell, modelled: spin looks at every interleaving
	@tools/model.sh

SECONDS ?= 600
soak: tests-plain tests-asan ## 10^5 connections, 10^4 states, workers and children, 10^6 messages; storms under ASAN for SECONDS (600)
	@URING_CONNECTIONS=100000 URING_STATES=10000 URING_WORKERS=10000 \
	  URING_JOBS=100000 tools/test.sh plain spec/accept_spec.lua \
	  spec/host_manners_spec.lua spec/worker_storm_spec.lua
	@TEST_TIMEOUT=$$(($(SECONDS) * 3 + 1200)) URING_SOAK=$(SECONDS) \
	  URING_CONNECTIONS=100000 tools/test.sh asan \
	  spec/socket_storm_spec.lua spec/send_storm_spec.lua \
	  spec/accept_spec.lua spec/scope_storm_spec.lua \
	  spec/address_spec.lua
	@TEST_TIMEOUT=3600 URING_MESSAGES=1000000 URING_SLOW=60 \
	  tools/test.sh plain spec/loop_fd_spec.lua
	@TEST_TIMEOUT=3600 URING_CHILDREN=10000 URING_SLOW=60 \
	  tools/test.sh plain spec/process_end_spec.lua spec/process_start_spec.lua

# Memory is refused, and finalizers run, at every place and not at some.
sweep: tests-plain tests-asan ## memory refused, finalizers run, at every place; ASAN too
	@for v in plain asan; do \
	  TEST_TIMEOUT=20000 URING_SWEEP=all URING_SLOW=$(or $(URING_SLOW),60) \
	    tools/test.sh $$v spec/shortage_spec.lua spec/embedded_spec.lua \
	    spec/finalizer_spec.lua \
	    || exit; \
	done

# Strict about every C file, for tests are read as often as what they test.
STRICT_SRC := $(SRC) $(wildcard spec/c/*.c spec/c/*/*.c bench/*.c) $(GAME)
check: all ## luacheck, -Werror by gcc and clang, layers, columns, the rockspec, the module
check: $(call objects,strict-gcc,$(STRICT_SRC))
check: $(call objects,strict-clang,$(STRICT_SRC))
	luacheck -q $(wildcard lua spec bench examples tools rockspec/*.rockspec)
	$(LUA) tools/layers.lua $(BUILD)/obj/strict-gcc
	LC_ALL=C.UTF-8 grep -rnE --include='*.[ch]' '.{80}' \
	  csrc include spec examples bench; test $$? -eq 1
	for f in bootstrap .ci/run tools/*.sh; do sh -n $$f || exit; done
	luarocks --lua-version 5.4 lint rockspec/uring-scm-1.rockspec
	tools/module.sh $(BUILD)/uring/core.so

# make itself ends with 2 whenever a command fails, so the demo's own status,
# 77 where io_uring is refused, is left in a file for bootstrap to end with.
demo: all ## a pool of workers counts the words of a tree of files; DIR=...
	@tools/env.sh plain $(LUA) examples/wordcount.lua "$(or $(DIR),csrc)"; \
	  status=$$?; echo $$status >$(BUILD)/demo.status; exit $$status

demo-rings: all ## send messages, flags and an open file between rings; FILE=...
	@tools/env.sh plain $(LUA) examples/demo.lua "$(or $(FILE),README.md)"; \
	  status=$$?; echo $$status >$(BUILD)/demo.status; exit $$status

demo-dns: all ## a DNS server, asked by dig some hundred times
	@tools/env.sh plain $(LUA) tools/demo_dns.lua; \
	  status=$$?; echo $$status >$(BUILD)/demo.status; exit $$status

demo-host: all $(BUILD)/examples/game ## a game host in C, 20 seconds long; ARGS="--flood"
	@tools/env.sh plain $(BUILD)/examples/game $(ARGS) \
	  examples/game/actors.lua; \
	  status=$$?; echo $$status >$(BUILD)/demo.status; exit $$status

bench: all $(BUILD)/spec/uring_spec.so $(BENCH:%=$(BUILD)/bench/%) ## ours beside C and peers, as ratios
	@tools/env.sh plain $(LUA) bench/run.lua
	@echo; tools/env.sh plain $(LUA) bench/tasks.lua
	@echo; tools/env.sh plain $(LUA) bench/sockets.lua
	@echo; tools/env.sh plain $(LUA) bench/zero_copy.lua
	@echo; tools/env.sh plain $(LUA) bench/workers.lua
	@echo; echo "On one CPU:"
	@taskset -c 0 tools/env.sh plain $(LUA) bench/workers.lua
	@echo; echo "Bells: ns of the sender, and until all have answered:"
	@$(BUILD)/bench/bells 500
	@echo; tools/env.sh plain $(LUA) bench/steps.lua
	@echo; tools/env.sh plain $(LUA) bench/floods.lua
	@echo; tools/env.sh plain $(LUA) bench/lighttpd.lua
	@echo; tools/env.sh plain $(LUA) bench/redis.lua
	@echo; tools/env.sh plain $(LUA) bench/process.lua
	@echo; tools/env.sh plain $(LUA) bench/lines.lua
	@echo; tools/env.sh plain $(LUA) bench/tls.lua
	@echo; tools/env.sh plain $(LUA) bench/httpd.lua

bench-plots: all $(BUILD)/bench/workers ## build/bench/*.png, by gnuplot: rates by the number of senders
	@for cpus in 0 0,1; do out=$(BUILD)/bench/senders_$$cpus; \
	  taskset -c $$cpus tools/env.sh plain $(LUA) bench/workers.lua \
	    --data $$out.dat && \
	  gnuplot -e "data='$$out.dat'; out='$$out.png'" bench/workers.gp && \
	  echo "$$out.png" || exit; done

matrix: ## test here and in roots of Debian trixie and sid, Lua 5.5 there
	@tools/matrix.sh

kernels: tests-plain ## test under other kernels in qemu; KERNELS="sid"
	@SPEC="$(SPEC)" tools/kernels.sh $(KERNELS)

guards: ## does a test die without each line that safety hangs on?
	@$(LUA) tools/guards.lua $(GUARD)

# luarocks gives the INST_ directories.
PREFIX      ?= /usr/local
LUA_VERSION ?= $(shell $(LUA) -e 'io.write(_VERSION:match "%d+%.%d+")')
INST_LIBDIR ?= $(PREFIX)/lib/lua/$(LUA_VERSION)
INST_LUADIR ?= $(PREFIX)/share/lua/$(LUA_VERSION)
INST_INCDIR ?= $(PREFIX)/include

install: all ## into PREFIX (/usr/local), or INST_LIBDIR, INST_LUADIR, INST_INCDIR
	install -D -m 755 $(BUILD)/uring/core.so \
	  "$(DESTDIR)$(INST_LIBDIR)/uring/core.so"
	install -D -m 644 include/uring_lua.h \
	  "$(DESTDIR)$(INST_INCDIR)/uring_lua.h"
	for f in $(LUA_FILES:lua/%=%); do \
	  install -D -m 644 lua/$$f "$(DESTDIR)$(INST_LUADIR)/$$f" || exit; done

constants: ## renew the constants in lua/uring/meta.lua from the C list
	@$(LUA) tools/constants.lua

clean: ## remove build/
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 12

# --- rules ------------------------------------------------------------------

# The flags file changes only when the flags or the list of sources do, so a
# build for another Lua, or without a file that was removed, is a new build.
define variant_rules
$(BUILD)/obj/$1/flags: FORCE
	@mkdir -p $$(@D)
	@echo '$$(CC_$1) $$(FLAGS_$1) $$(MODULE) $$(INCLUDE) $$(LIBS) $$(SRC)' \
	  >$$@.new
	@cmp -s $$@ $$@.new && rm $$@.new || mv $$@.new $$@

$(BUILD)/obj/$1/%.o: %.c $(BUILD)/obj/$1/flags
	@mkdir -p $$(@D)
	$$(call say,CC,$$(@:$(BUILD)/obj/%=%))
	$$(Q)$$(CC_$1) $$(HOUSE) $$(FLAGS_$1) $$(INCLUDE) -MMD -MP -c -o $$@ $$<
endef
$(foreach v,$(VARIANTS),$(eval $(call variant_rules,$v)))

# The archive is one object whose names are local but for luaopen_*, so that it
# collides with no name of a host. (The host's compiler need not know of LTO.)
KEEP := luaopen_uring luaopen_uring_core
$(BUILD)/liburing_lua.a: $(call objects,plain,$(SRC))
	@mkdir -p $(@D)
	$(call say,AR,$@)
	$(Q)$(LD) -r -o $(@:.a=.o) $^
	$(Q)$(OBJCOPY) $(KEEP:%=--keep-global-symbol=%) \
	  --remove-section='.gnu.lto_*' --remove-section='.gnu.debuglto_*' \
	  --remove-section='.llvm.lto' \
	  $(@:.a=.o)
	$(Q)rm -f $@ && $(AR) rcs $@ $(@:.a=.o) && rm $(@:.a=.o)

# The Lua files as C, for csrc/lua/embedded.c: new only if one has changed.
$(BUILD)/gen/lua_files.c: FORCE
	@mkdir -p $(@D)
	@tools/embed.sh $(EMBED) >$@.new
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@

# A host must not be ended by the library's own asserts; the tests' builds and
# C tests keep them.
$(BUILD)/obj/plain/csrc/%.o: HOUSE += -DNDEBUG

# link(file, variant, sources, flags)
define link
$1: $(call objects,$2,$3)
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC_$2) $$(FLAGS_$2) $4 -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
module = $(eval $(call link,$1,$2,$3,$$(MODULE) $4))
program = $(eval $(call link,$1,$2,$3,$$(NO_LTO)))

$(call module,$(BUILD)/uring/core.so,plain,$(SRC))
$(call module,$(BUILD)/fault/uring/core.so,plain,$(FAULT_SRC),\
  $(WRAP) $(NO_LTO))
$(call module,$(BUILD)/asan/uring/core.so,asan,$(SRC))
$(call module,$(BUILD)/tsan/uring/core.so,tsan,$(SRC))
$(call module,$(BUILD)/asan-fault/uring/core.so,asan,$(FAULT_SRC),$(WRAP))
$(call module,$(BUILD)/spec/uring_spec.so,plain,$(SPEC_HELPER_SRC),$(NO_LTO))
$(call module,$(BUILD)/asan/spec/uring_spec.so,asan,$(SPEC_HELPER_SRC))

ctest_src = spec/c/test_$1.c \
  $(wildcard $(patsubst %,csrc/*/%.c,$(or $(CTEST_$1),$1)))
$(foreach t,$(CTEST),\
  $(call program,$(BUILD)/c/test_$t,plain,$(call ctest_src,$t))\
  $(call program,$(BUILD)/asan/c/test_$t,asan,$(call ctest_src,$t)))
$(foreach t,$(TSAN),\
  $(call program,$(BUILD)/tsan/c/test_$t,tsan,$(call ctest_src,$t)))
$(foreach b,$(BENCH),$(call program,$(BUILD)/bench/$b,plain,bench/$b.c))
$(call program,$(BUILD)/examples/game,plain,$(GAME))
$(BUILD)/examples/game: private LIBS = $(LUA_LIBS) -lm -pthread
$(call program,$(BUILD)/tsan/c/host_api,tsan,$(wildcard spec/c/host_api/*.c))
$(BUILD)/tsan/c/host_api: private LIBS = $(LUA_LIBS) -lm -pthread

tests-plain: $(BUILD)/uring/core.so $(CTEST:%=$(BUILD)/c/test_%)
tests-plain: $(if $(FAULT),$(BUILD)/fault/uring/core.so)
tests-plain: $(if $(HELPER),$(BUILD)/spec/uring_spec.so)
tests-plain: $(BUILD)/liburing_lua.a
tests-asan: $(BUILD)/asan/uring/core.so $(CTEST:%=$(BUILD)/asan/c/test_%)
tests-asan: $(if $(FAULT),$(BUILD)/asan-fault/uring/core.so)
tests-asan: $(if $(HELPER),$(BUILD)/asan/spec/uring_spec.so)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
