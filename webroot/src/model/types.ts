// What ds answers: docs/rpc.md and `ds help`. A browser test holds these names against the real program.

export type State = 'stopped' | 'starting' | 'running' | 'stopping' | 'restarting' | 'failed' | 'frozen';

export interface Exit {
  reason: string;
  code: number | null;
  signal: number | null;
  message: string | null;
  at: number;
  uptime_s: number;
}

export interface Container {
  name: string;
  state: State;
  pid: number | null;
  autostart: boolean;
  priority: number;
  uptime_s: number | null;
  ready: boolean;
  waits_for: string | null;
  autostart_off: string | null;
  problem: string | null;
  init: string | null;
  rootfs: { kind: string; path: string } | null;
  filesystem: { kind: string; size: number; used: number | null } | null;
  volatile: boolean;
  hostname: string | null;
  network: { mode: string; addresses: string[] } | null;
  os: string | null;
  boots: number;
  last_exit: Exit | null;
  extra: { busy: boolean; memory_limit: number | null; ports: string | null };
}

export interface Use {
  name: string;
  cpu_percent: number | null;
  memory: number | null;
  pids: number | null;
}

export interface Machine {
  cpu_percent: number;
  processors: number;
  memory: number;
  memory_total: number;
}

export interface Job {
  id: string;
  verb: string;
  name: string | null;
  state: 'running' | 'done' | 'failed';
  started: number;
  step?: string;
  done?: number;
  total?: number | null;
  warnings?: string[];
  error?: { code: string; message: string };
}

export interface Setting {
  key: string;
  section: string;
  name: string;
  value: string;
  default: string;
  form: 'choice' | 'choices' | 'text';
  words: string[];
  kind: string | null;
  about: string;
  example: string;
}

export interface Status {
  pid: number;
  version: string;
  uptime_s: number;
  data: { path: string; size: number | null; used: number | null };
}

/** A file of the download cache. */
export interface Download {
  size: number;
}

/** One name in a directory of the machine. */
export interface Entry {
  name: string;
  kind: 'directory' | 'file' | 'block' | 'other';
  size: number | null;
  changed: number | null;
}

export interface Listing {
  path: string;
  parent: string | null;
  entries: Entry[];
  omitted: number;
  places: string[];
}

export interface Feature {
  name: string;
  present: boolean;
  required: boolean;
  option: string;
  purpose: string;
  without: string;
}

export interface Image {
  name: string;
  distribution: string;
  release: string;
  aliases: string[];
  variant: string;
  build: string;
  size: number | null;
}
