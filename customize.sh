# shellcheck shell=sh
# shellcheck disable=SC2154 # the installer sets these variables
# Sourced by the installers of Magisk, KernelSU and APatch when the module is installed. It ends with abort, never
# with exit, which would end the installer. Magisk discards standard error, so all output uses ui_print.
if [ "$BOOTMODE" != true ]; then
  abort "! Install this module in the app of your root manager, not in recovery"
fi
if [ ! -s "$MODPATH/checksums" ] || ! (cd "$MODPATH" && sha256sum -c checksums) >/dev/null 2>&1; then
  abort "! This zip is damaged: a checksum is wrong. Download it again"
fi
if [ ! -f "$MODPATH/bin/ds-$ARCH" ]; then
  abort "! There is no ds for the processor of this device (${ARCH:-unknown}) in this zip"
fi
# The program gets its name when it is complete and executable, and never overwrites another one.
set_perm "$MODPATH/bin/ds-$ARCH" 0 0 0755
mv -f "$MODPATH/bin/ds-$ARCH" "$MODPATH/bin/ds"
rm -f "$MODPATH"/bin/ds-* "$MODPATH/checksums"
# The installer's processor can be a guess, and some vendors do not permit root to execute programs in /data.
if ! "$MODPATH/bin/ds" version >/dev/null 2>&1; then
  abort "! ds does not run on this device: its processor is not ${ARCH}, or root cannot execute programs in /data"
fi
if ! report=$(
  export API MODPATH KSU KSU_VER_CODE APATCH APATCH_VER_CODE MAGISK_VER_CODE
  "$MODPATH/bin/ds" module install 2>&1
); then
  abort "$report"
fi
ui_print "$report"
if [ -d "$MODPATH/system" ]; then
  # set_perm follows links, and these lead to the active module.
  chcon -hR u:object_r:system_file:s0 "$MODPATH/system"
fi
