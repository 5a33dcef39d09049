// The state of the page, in one place: what the subscription tells, and what the user sees of it.

import { computed, signal } from '@preact/signals';
import { OVERVIEW } from '../first/early';
import { type Fault, subscribe } from '../rpc';
import { recall, remember } from './last';
import type { Container, Job, Machine, Use } from './types';

/** Points of the small charts: two minutes. */
const POINTS = 60;

export const containers = signal<Container[] | null>(null);
export const heldBack = signal<string | null>(null);
export const use = signal<Record<string, Use>>({});
export const history = signal<Record<string, number[]>>({});
export const machine = signal<Machine | null>(null);
export const jobs = signal<Job[]>([]);
/** When the states that are shown were current, in milliseconds since 1970; null once ds has told newer ones. */
export const staleSince = signal<number | null>(null);
/** Why nothing is heard at the moment. */
export const trouble = signal<Fault | null>(null);
/** When the last states were told: times go on from there. */
export const toldAt = signal(Date.now());
export const now = signal(Date.now());
/** Containers with a command under way, and what it is. */
export const pending = signal<Record<string, string>>({});

export const running = computed(() => (containers.value ?? []).filter((one) => one.pid !== null).length);

export function container(name: string): Container | undefined {
  return containers.value?.find((one) => one.name === name);
}

/** Seconds that a container has been up. */
export function uptime(one: Container): number | null {
  if (one.uptime_s === null) return null;
  return one.uptime_s + Math.max(0, Math.round((now.value - toldAt.value) / 1000));
}

let stop: (() => void) | null = null;

function listen(): void {
  if (stop || document.hidden) return;
  stop = subscribe(OVERVIEW, {
    event(document) {
      trouble.value = null;
      const told = document as unknown;
      switch (document.event) {
        case 'state': {
          const state = told as { containers: Container[]; held_back: string | null };
          containers.value = state.containers;
          heldBack.value = state.held_back;
          toldAt.value = now.value = Date.now();
          staleSince.value = null;
          remember(state.containers);
          break;
        }
        case 'stats': {
          const stats = told as { containers: Use[]; machine: Machine };
          take(stats.containers);
          machine.value = stats.machine;
          now.value = Date.now();
          break;
        }
        case 'jobs':
          jobs.value = (told as { jobs: Job[] }).jobs;
          break;
      }
    },
    end(fault) {
      if (fault) trouble.value = fault;
    },
  });
}

function take(rows: Use[]): void {
  const points: Record<string, number[]> = {};
  for (const row of rows) {
    points[row.name] = [...(history.value[row.name] ?? []), row.cpu_percent ?? 0].slice(-POINTS);
  }
  history.value = points;
  use.value = Object.fromEntries(rows.map((row) => [row.name, row]));
}

/** Shows the state of the last time until there is a newer one. */
function showLast(): void {
  const last = recall();
  if (!last || containers.value) return;
  containers.value = last.containers;
  toldAt.value = staleSince.value = last.at;
  now.value = Date.now();
}

/** Listens while the page is seen, and costs nothing while it is not. */
export function follow(): void {
  showLast();
  listen();
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      stop?.();
      stop = null;
    } else {
      listen();
    }
  });
}
