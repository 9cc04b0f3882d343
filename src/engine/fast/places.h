/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/*
 * For the direct paths' assembly, of which each file is assembled twice: as it is, and by a file that defines
 * WITH_PKEYS, whose labels then end in _keys. fast/recover.cc knows a thread's place on its path by these labels;
 * so each variant has a table of its own, whose layout is fast/entry.h.
 */
#ifndef ENCLUME_ENGINE_FAST_PLACES_H
#define ENCLUME_ENGINE_FAST_PLACES_H

#ifdef WITH_PKEYS
#define VARIANT(name) name##_keys
#define SUFFIX _keys
#else
#define VARIANT(name) name
#define SUFFIX
#endif

        .set    place_count, 0

        /* Begins the table. */
        .macro  places table
        .section .data.rel.ro, "aw", @progbits
        .p2align 3
        .globl  \table\()SUFFIX
        .hidden \table\()SUFFIX
\table\()SUFFIX:
        .endm

        /* A label that is in it. */
        .macro  place name
        .globl  \name\()SUFFIX
        .hidden \name\()SUFFIX
\name\()SUFFIX:
        .pushsection .data.rel.ro, "aw", @progbits
        .quad   \name\()SUFFIX
        .popsection
        .set    place_count, place_count + 1
        .endm

        /* The table has as many as the C++ knows. */
        .macro  all_places count
        .if place_count != \count
        .error  "fast/entry.h has another number of places"
        .endif
        .endm

#endif
