// Kinds of devices as `hardware.devices` names them, and which names in /dev belong to each. ds decides what a
// container is given; this only shows what the machine has.

export const KINDS: readonly (readonly [string, RegExp])[] = [
  ['gpu', /^(dri|kgsl-3d0|mali\d*|dma_heap|nvidia.*|pvr.*|kfd|dxg|ion)$/],
  ['kvm', /^(kvm|vhost-net|vhost-vsock)$/],
  ['loop', /^(loop-control|loop\d+)$/],
  ['snd', /^snd$/],
  ['input', /^input$/],
  ['uinput', /^(uinput|uhid)$/],
  ['usb', /^bus$/],
  ['tty', /^(tty(S|USB|ACM|AMA|HS|MSM|GS|THS|mxc)|rfcomm)\d+$/],
  ['video', /^(video|media|v4l-subdev)\d+$/],
  ['hidraw', /^hidraw\d+$/],
  ['i2c', /^i2c-\d+$/],
  ['gpio', /^gpio(chip|mem)\d*$/],
];

/** Kinds of which the machine has devices, with some of their names. */
export function found(names: string[]): [string, string[]][] {
  return KINDS.map(([kind, pattern]): [string, string[]] => [kind, names.filter((name) => pattern.test(name))]).filter(
    ([, devices]) => devices.length > 0,
  );
}

function items(value: string): string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** Whether a list gives devices of this kind, with or without `:r`. */
export function gives(value: string, kind: string): boolean {
  return items(value).some((item) => item.toLowerCase() === kind || item.toLowerCase() === `${kind}:r`);
}

export function toggled(value: string, kind: string): string {
  const others = items(value).filter((item) => !gives(item, kind));
  return (gives(value, kind) ? others : [...others, kind]).join(',');
}
