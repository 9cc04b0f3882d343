#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lose.sh ENCLUME PROGRAM [REQUESTS]: runs the sample and takes its EPC away, again and again.
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
"$1" run -- "$2" "${3:-2000}" > "$out" &
child=$!
pid=
while [ -z "$pid" ] && kill -0 "$child" 2> /dev/null; do
  pid=$(sed -n 's/^process //p' "$out")
done
lost=0
while kill -0 "$child" 2> /dev/null; do
  "$1" ctl "$pid" lose-epc > /dev/null 2>&1 && lost=$((lost + 1))
done
wait "$child"
status=$?
cat "$out"
echo "the EPC was lost $lost times"
exit "$status"
