#!/bin/sh
. ./src/price.sh
if [ "$(total 2 3)" = 6 ]; then
    echo "  test.sh: 1 passed"
else
    echo "  test.sh: 1 failed: total 2 3 is $(total 2 3), not 6"
    exit 1
fi
