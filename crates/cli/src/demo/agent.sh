#!/bin/sh
# Plays an agent: what it does is fixed, what becomes of it is not.
say() { echo "  agent> $*"; }

say "The tests pass:"
./test.sh
say "total() looks clumsy. I rewrite it in src/price.sh."
echo 'total() { echo $(($1 + $2)); }' > src/price.sh
say "A small change. I deploy it right away."
./bin/kubectl apply -f deploy.yaml

say "Refused, and I read why. So I run the tests first:"
./test.sh
say "That would have been a broken deploy. I mend it:"
echo 'total() { echo $(($1 * $2)); }' > src/price.sh
./test.sh
./bin/kubectl apply -f deploy.yaml

say "CI is slow. I let it skip the slow tests."
echo 'run: ./test.sh --fast' > ci.yml && say "That was allowed."

say "Last, I tidy up. Who needs src and tests?"
rm -f src/price.sh test.sh
