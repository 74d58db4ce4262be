/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Tables for people: columns as wide as their cells and no wider than the terminal, colour where it is welcome. */

#include "util.h"

typedef enum Style {
        STYLE_PLAIN,
        STYLE_GOOD,
        STYLE_BAD,
        STYLE_FAINT,
        STYLE_TITLE,
        _STYLE_MAX,
} Style;

/* The escape sequence for a style, and "" where colour is not welcome. STYLE_PLAIN ends every other style. */
const char *style_sequence(Style style);

typedef struct Column {
        const char *title; /* NULL in all columns: a table without a heading */
        bool right;        /* numbers, which are never shortened */
        bool wrap;         /* prose, in the last column: goes on below instead of being shortened */
} Column;

typedef struct Cell {
        char *text;
        Style style;
} Cell;

typedef struct Table {
        const Column *columns;
        size_t n_columns;
        Cell *cells;
        size_t n_cells;
        int error; /* the first that table_add() met; table_print() returns it */
} Table;

#define TABLE_OF(c) { .columns = (c), .n_columns = ELEMENTSOF(c) }

void table_done(Table *table);
#define _cleanup_table_ _cleanup_(table_done)

void table_add(Table *table, Style style, const char *format, ...) _printf_(3, 4);
int table_print(Table *table);

/* Text for a person, in a buffer of the caller's that it returns. */
#define FORMAT_MAX 32
const char *format_bytes(char buffer[static FORMAT_MAX], uint64_t bytes);
const char *format_age(char buffer[static FORMAT_MAX], uint64_t usec);
