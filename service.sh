#!/system/bin/sh
# Runs at late_start, in some managers again after a restart of Android's runtime. 'ds module boot' decides what to do.
MODDIR=${0%/*}
LOGS=/data/adb/droidspaces/log
umask 077
mkdir -p "$LOGS"
umask 022
cd / || exit 1
# An interrupted update can leave a module without its program. The data directory has a copy from the last boot.
PROGRAM=$MODDIR/bin/ds
[ -x "$PROGRAM" ] || PROGRAM=/data/adb/droidspaces/bin/ds
exec "$PROGRAM" module boot </dev/null >"$LOGS/service.log" 2>&1
