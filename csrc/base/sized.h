/*
** sized: structs that a caller has filled, and that begin with their size, so
** that caller and library may be of different versions. (No Lua in it.)
*/

#ifndef uring_sized_h
#define uring_sized_h

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SIZED_MOST 4096u   /* a larger one is no struct, but a mistake */

/* Copy what is known of the caller's struct: 0. What it does not have is zero.
** -EINVAL: it has less than `least` bytes; -E2BIG: there is something in it
** that this library does not know. */
static inline int sized_read (void *own, size_t size, size_t least,
                              const void *theirs) {
  uint32_t n;
  memcpy(&n, theirs, sizeof(n));
  if (n < least)
    return -EINVAL;
  if (n > SIZED_MOST)
    return -E2BIG;
  for (size_t i = size; i < n; i++)
    if (((const unsigned char *)theirs)[i] != 0)
      return -E2BIG;
  memset(own, 0, size);
  memcpy(own, theirs, n < size ? n : size);
  return 0;
}

#endif
