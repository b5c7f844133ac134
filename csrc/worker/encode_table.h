/*
** encode_table: tables, walked without recursion. Private to the encode
** modules.
*/

#ifndef uring_encode_table_h
#define uring_encode_table_h

#include "worker/encode_plain.h"

#define ENCODE_TABLE_SLOTS 5   /* of the stack, for each level */

/* Append the value at `index`, and all in it, if it is a table. If that fails
** the stack is as it was then, for the path; the caller restores it. */
bool encode_table_value (struct encoder *c, int index);

/* Write the path to what cannot travel. */
void encode_table_path (struct encoder *c);

#endif
