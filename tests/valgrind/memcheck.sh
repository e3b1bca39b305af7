#!/bin/bash
# memcheck.sh PROGRAM [ARGUMENT]...: runs it under valgrind's memcheck; see README.md.
# Ends with 99 when memcheck found an error or a definite leak, else as the program does.
exec valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
    --errors-for-leak-kinds=definite --num-callers=30 --fair-sched=yes "$@"
