// Icons as inline outlines; no icon font.

const PATHS = {
  add: 'M12 5v14M5 12h14',
  back: 'M19 12H5m6-6-6 6 6 6',
  box: 'M4 8l8-4 8 4v8l-8 4-8-4zM4 8l8 4 8-4M12 12v8',
  close: 'M6 6l12 12M18 6 6 18',
  clock: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 8v5l3 2',
  copy: 'M9 9h10v11H9zM6 15H5V4h10v2',
  device: 'M7 3h10v18H7zM11 18h2',
  downward: 'M12 5v14m-6-6 6 6 6-6',
  drag: 'M5 9h14M5 15h14',
  down: 'M12 4v10m0 0 4-4m-4 4-4-4M5 19h14',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  folder: 'M4 6h6l2 2h8v11H4z',
  grid: 'M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z',
  lines: 'M5 6h14M5 11h14M5 16h9',
  more: 'M12 5h.01M12 12h.01M12 19h.01',
  pause: 'M9 6v12M15 6v12',
  person: 'M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8M4 20c1-4 4-6 8-6s7 2 8 6',
  play: 'M8 5v14l11-7z',
  restart: 'M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5',
  search: 'M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14M20 20l-4-4',
  stop: 'M7 7h10v10H7z',
  terminal: 'M5 7l5 5-5 5M13 17h6',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  upward: 'M12 19V5m-6 6 6-6 6 6',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={`icon ${name === 'back' ? 'mirrored' : ''}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
