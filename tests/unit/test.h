/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Assertions for tests: each failure says where and what, and ends the program. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_FAIL(...)                                        \
        do {                                                  \
                fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
                fprintf(stderr, __VA_ARGS__);                 \
                fputc('\n', stderr);                          \
                exit(EXIT_FAILURE);                           \
        } while (0)

#define CHECK(condition)                                     \
        do {                                                 \
                if (!(condition))                            \
                        TEST_FAIL("failed: %s", #condition); \
        } while (0)

#define CHECK_INT(value, expected)                                                            \
        do {                                                                                  \
                long long _value = (value), _expected = (expected);                           \
                if (_value != _expected)                                                      \
                        TEST_FAIL("%s is %lld instead of %lld", #value, _value, _expected); \
        } while (0)

#define CHECK_STR(value, expected)                                                                \
        do {                                                                                      \
                const char *_value = (value), *_expected = (expected);                            \
                if (!_value || strcmp(_value, _expected) != 0)                                    \
                        TEST_FAIL("%s is\n    %s\ninstead of\n    %s", #value, _value ?: "NULL", \
                                  _expected);                                                     \
        } while (0)
