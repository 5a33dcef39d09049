# shellcheck shell=sh
# shellcheck disable=SC2086,SC2034 # as in the installers themselves
# What the installers of Magisk, KernelSU and APatch do with a module, as far as a module can see it: variables,
# functions, order. Written from their documentation. $MANAGER says which one this is; ZIPFILE, OUTFD and BOOTMODE are
# given. Names with spaces come apart here, as they do there.

ui_print() { echo "$1"; }

abort() {
  ui_print "$1"
  rm -rf "$MODPATH" "$TMPDIR"
  exit 1
}

set_perm() {
  chown $2:$3 $1 || return 1
  chmod $4 $1 || return 1
  chcon ${5:-u:object_r:system_file:s0} $1
}

set_perm_recursive() {
  find $1 -type d | while read -r each; do set_perm $each $2 $3 $4 $6; done
  find $1 -type f -o -type l | while read -r each; do set_perm $each $2 $3 $5 $6; done
}

# KernelSU takes the first line with the key anywhere in it, and lets xargs trim it.
grep_prop() { sed -n "s/$1=//p" ${2:-/system/build.prop} | head -n 1 | xargs; }

mktouch() {
  mkdir -p ${1%/*}
  : >$1
}

# Debian's BusyBox has no chcon. What is asked for is written down.
chcon() { echo "$*" >>/labels; }

ask_device() {
  API=$(grep_prop ro.build.version.sdk)
  ABI=$(grep_prop ro.product.cpu.abi)
  case "$ABI" in
  arm64-v8a) ARCH=arm64 ABI32=armeabi-v7a IS64BIT=true ;;
  armeabi-v7a) ARCH=arm ABI32=armeabi-v7a IS64BIT=false ;;
  x86_64) ARCH=x64 ABI32=x86 IS64BIT=true ;;
  x86) ARCH=x86 ABI32=x86 IS64BIT=false ;;
  # Magisk leaves it empty, the others take it for an arm.
  *) if [ "$MANAGER" = magisk ]; then ARCH=; else ARCH=arm; fi ;;
  esac
}

install_module() {
  rm -rf "$TMPDIR"
  mkdir -p "$TMPDIR"
  chcon u:object_r:system_file:s0 "$TMPDIR"
  cd "$TMPDIR" || exit 1
  ask_device
  unzip -o "$ZIPFILE" module.prop -d "$TMPDIR" >&2
  [ -f "$TMPDIR/module.prop" ] || abort "! No module.prop in this zip"
  MODID=$(grep_prop id "$TMPDIR/module.prop")
  MODNAME=$(grep_prop name "$TMPDIR/module.prop")
  ui_print "$MODNAME"
  if [ "$BOOTMODE" = true ]; then MODROOT=/data/adb/modules_update; else MODROOT=/data/adb/modules; fi
  MODPATH=$MODROOT/$MODID
  rm -rf "$MODPATH"
  mkdir -p "$MODPATH"
  unzip -o "$ZIPFILE" -x 'META-INF/*' -d "$MODPATH" >&2
  # For a test: the program is unpacked last, and power goes before that.
  if [ "$CUT_SHORT" = true ]; then
    rm -rf "${MODPATH:?}/bin"
    kill -9 $$
  fi
  set_perm_recursive "$MODPATH" 0 0 0755 0644
  set_perm_recursive "$MODPATH/system/bin" 0 2000 0755 0755
  # shellcheck disable=SC1091
  if [ -f "$MODPATH/customize.sh" ]; then . "$MODPATH/customize.sh"; fi
  if [ "$BOOTMODE" = true ]; then
    mktouch "/data/adb/modules/$MODID/update"
    rm -f "/data/adb/modules/$MODID/remove" "/data/adb/modules/$MODID/disable"
    cp -f "$MODPATH/module.prop" "/data/adb/modules/$MODID/module.prop"
  fi
  rm -rf "$MODPATH"/customize.sh "$MODPATH"/README.md "$MODPATH"/.git*
  rmdir -p "$MODPATH" 2>/dev/null
  cd /
  rm -rf "$TMPDIR"
  ui_print "- Done"
}

TMPDIR=/dev/tmp
case "$MANAGER" in
magisk) MAGISK_VER=30.7 MAGISK_VER_CODE=${VERSION_CODE:-30700} MAGISKTMP=/debug_ramdisk ;;
*) MAGISK_VER=25.2 MAGISK_VER_CODE=25200 NVBASE=/data/adb ;;
esac
install_module
exit 0
