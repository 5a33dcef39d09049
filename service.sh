#!/system/bin/sh
# Runs at late_start and starts the supervisor, which starts the containers that have autostart = yes.
# Run again, it changes nothing: a second supervisor refuses to start and says so in the log.
MODDIR=${0%/*}
LOGS=/data/adb/droidspaces/log
umask 077
mkdir -p "$LOGS"
umask 022
cd / || exit 1
exec setsid "$MODDIR/bin/ds" supervise </dev/null >"$LOGS/service.log" 2>&1
