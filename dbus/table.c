/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Tables for people. */

#include <inttypes.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "table.h"

#define GAP 2         /* blanks between columns, as print_row() writes them */
#define WIDTH_LEAST 8 /* a column is not shortened below this */

const char *style_sequence(Style style) {
        static const char *const sequences[_STYLE_MAX] = {
                [STYLE_PLAIN] = "\033[0m", [STYLE_GOOD] = "\033[32m", [STYLE_BAD] = "\033[31m",
                [STYLE_FAINT] = "\033[2m", [STYLE_TITLE] = "\033[1m",
        };
        const char *term = getenv("TERM");

        if (!isempty(getenv("NO_COLOR")) || !isatty(STDOUT_FILENO) || (term && streq(term, "dumb")))
                return "";
        return sequences[style];
}

void table_done(Table *table) {
        for (size_t i = 0; i < table->n_cells; i++)
                free(table->cells[i].text);
        free(table->cells);
        table->cells = NULL;
        table->n_cells = 0;
}

/* Cgroups and the like are named by whoever makes them: no name may speak to the terminal. */
static void defuse(char *text) {
        for (char *p = text; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        *p = '?';
}

/* Appends the next cell, from left to right and row by row. */
void table_add(Table *table, Style style, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        va_list arguments;
        Cell *grown;
        int r;

        if (table->error < 0)
                return;

        va_start(arguments, format);
        r = vasprintf(&text, format, arguments);
        va_end(arguments);
        if (r < 0) {
                text = NULL;
                table->error = -ENOMEM;
                return;
        }
        defuse(text);

        grown = reallocarray(table->cells, table->n_cells + 1, sizeof(Cell));
        if (!grown) {
                table->error = -ENOMEM;
                return;
        }
        table->cells = grown;
        table->cells[table->n_cells++] = (Cell) { .text = TAKE_PTR(text), .style = style };
}

static bool is_continuation(char c) {
        return ((unsigned char) c & 0xc0) == 0x80;
}

/* The characters of a UTF-8 string, each taken to fill one column of the terminal. */
static size_t text_width(const char *text) {
        size_t n = 0;

        for (const char *p = text; *p; p++)
                n += !is_continuation(*p);
        return n;
}

/* The bytes of the first characters of a UTF-8 string. */
static size_t text_prefix(const char *text, size_t characters) {
        const char *p = text;

        for (; *p; p++)
                if (!is_continuation(*p) && characters-- == 0)
                        break;
        return p - text;
}

/* How many columns a line may fill; SIZE_MAX where nobody is watching, since a program wants it all. */
static size_t terminal_width(void) {
        struct winsize size = {};

        if (!isatty(STDOUT_FILENO))
                return SIZE_MAX;
        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                return 80;
        return size.ws_col;
}

static void measure(const Table *table, size_t *widths) {
        for (size_t i = 0; i < table->n_columns; i++)
                widths[i] = table->columns[i].title ? text_width(table->columns[i].title) : 0;

        for (size_t i = 0; i < table->n_cells; i++) {
                size_t column = i % table->n_columns;

                widths[column] = MAX(widths[column], text_width(table->cells[i].text));
        }
}

/* Takes from the widest column of text, a character at a time, until the line fits or nothing is left to take. */
static void shrink(const Table *table, size_t *widths) {
        size_t limit = terminal_width(), total = GAP * (table->n_columns - 1);

        for (size_t i = 0; i < table->n_columns; i++)
                total += widths[i];

        for (; total > limit; total--) {
                size_t *widest = NULL;

                for (size_t i = 0; i < table->n_columns; i++)
                        if (!table->columns[i].right && (!widest || widths[i] > *widest))
                                widest = widths + i;

                if (!widest || *widest <= WIDTH_LEAST)
                        return;
                (*widest)--;
        }
}

/* Shortens in the middle: the end of an address is its port, and that of a path the name. */
static void print_shortened(const char *text, size_t width) {
        size_t head = (width - 1) / 2, tail = width - 1 - head;

        printf("%.*s…%s", (int) text_prefix(text, head), text, text + text_prefix(text, text_width(text) - tail));
}

/* Breaks at blanks, or within a word that is longer than a line. Further lines begin under the first. */
static void print_wrapped(const char *text, size_t width, size_t indent) {
        while (text_width(text) > width) {
                size_t length = text_prefix(text, width), rest;

                for (size_t i = length; i > 0; i--)
                        if (text[i] == ' ') {
                                length = i;
                                break;
                        }
                rest = length + (text[length] == ' ');
                printf("%.*s\n%*s", (int) length, text, (int) indent, "");
                text += rest;
        }
        fputs(text, stdout);
}

/* Prints a cell that begins at a given column of the terminal. */
static void print_cell(const Column *column, size_t position, size_t width, const char *text, Style style) {
        size_t used = text_width(text);
        int pad = used < width ? width - used : 0;

        if (column->right)
                printf("%*s", pad, "");
        if (style != STYLE_PLAIN)
                fputs(style_sequence(style), stdout);
        if (used <= width)
                fputs(text, stdout);
        else if (column->wrap)
                print_wrapped(text, width, position);
        else
                print_shortened(text, width);
        if (style != STYLE_PLAIN)
                fputs(style_sequence(STYLE_PLAIN), stdout);
        if (!column->right && !column->wrap)
                printf("%*s", pad, "");
}

/* Prints the cells of a row, or the titles if there are none. */
static void print_row(const Table *table, const size_t *widths, const Cell *row) {
        size_t position = 0;

        for (size_t i = 0; i < table->n_columns; i++) {
                const Column *column = table->columns + i;

                print_cell(column, position, widths[i], row ? row[i].text : column->title,
                           row ? row[i].style : STYLE_TITLE);
                fputs(i + 1 < table->n_columns ? "  " : "\n", stdout);
                position += widths[i] + GAP;
        }
}

/* Prints the table, and leaves it as it is. */
int table_print(Table *table) {
        _cleanup_free_ size_t *widths = NULL;

        if (table->error < 0)
                return table->error;

        widths = calloc(table->n_columns, sizeof(size_t));
        if (!widths)
                return -ENOMEM;
        measure(table, widths);
        shrink(table, widths);

        if (table->columns[0].title)
                print_row(table, widths, NULL);
        for (size_t i = 0; i + table->n_columns <= table->n_cells; i += table->n_columns)
                print_row(table, widths, table->cells + i);
        return 0;
}

const char *format_bytes(char buffer[static FORMAT_MAX], uint64_t bytes) {
        static const char units[] = "KMGTPE";
        double value = bytes;
        size_t unit = 0;

        if (bytes < 1024) {
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "B", bytes);
                return buffer;
        }
        for (value /= 1024; value >= 1023.95; value /= 1024)
                unit++;
        snprintf(buffer, FORMAT_MAX, "%.1f%c", value, units[unit]);
        return buffer;
}

/* In the largest unit that fits. */
const char *format_age(char buffer[static FORMAT_MAX], uint64_t usec) {
        uint64_t seconds = usec / USEC_PER_SEC;

        if (seconds < 60)
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "s", seconds);
        else if (seconds < 60 * 60)
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "min", seconds / 60);
        else if (seconds < 24 * 60 * 60)
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "h", seconds / 3600);
        else
                snprintf(buffer, FORMAT_MAX, "%" PRIu64 "d", seconds / 86400);
        return buffer;
}
