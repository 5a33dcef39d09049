// Ways out of the machine as `network.uplink` names them. ds decides which one a container takes; this only shows what
// the machine has.

/** The words that stand for no interface; each is the whole value. */
export const WORDS = ['auto', 'vpn'] as const;

/** Interfaces that lead nowhere: the loopback, links of containers, and what kernels create by themselves. */
const NO_WAY_OUT =
  /^(lo|ds-.*|veth.*|dummy\d*|sit\d+|ip6?_vti\d+|ip6tnl\d+|tunl\d+|gre\d+|gretap\d+|erspan\d+|ifb\d+|p2p\d+)$/;

export function chosen(value: string): string[] {
  return value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '' && !WORDS.some((word) => word === item.toLowerCase()));
}

/** What there is to choose: interfaces of the machine, and chosen ones that it lacks at the moment. */
export function offered(value: string, names: string[]): string[] {
  const usual = names.filter((name) => !NO_WAY_OUT.test(name)).sort();
  return [...usual, ...chosen(value).filter((name) => !usual.includes(name))];
}

/** The first one that leads out is used, so another one is added at the end. */
export function toggled(value: string, name: string): string {
  const before = chosen(value);
  const after = before.includes(name) ? before.filter((one) => one !== name) : [...before, name];
  return after.length > 0 ? after.join(',') : WORDS[0];
}
