#!/system/bin/sh
# Runs at late_start, in some managers again after a restart of Android's runtime. ds decides what there is to do.
MODDIR=${0%/*}
LOGS=/data/adb/droidspaces/log
umask 077
mkdir -p "$LOGS"
umask 022
cd / || exit 1
# An update that was cut short can leave a module without its program. The one of the last boot is kept with the data.
PROGRAM=$MODDIR/bin/ds
[ -x "$PROGRAM" ] || PROGRAM=/data/adb/droidspaces/bin/ds
exec "$PROGRAM" module boot </dev/null >"$LOGS/service.log" 2>&1
