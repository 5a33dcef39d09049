#!/system/bin/sh
# Runs at late_start, in some managers again after a restart of Android's runtime. ds decides what there is to do.
MODDIR=${0%/*}
LOGS=/data/adb/droidspaces/log
umask 077
mkdir -p "$LOGS"
umask 022
cd / || exit 1
exec "$MODDIR/bin/ds" module boot </dev/null >"$LOGS/service.log" 2>&1
