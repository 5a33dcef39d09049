// A line of the last two minutes, without axes: the number beside it says how much.

const WIDTH = 120;
const HEIGHT = 28;

export function line(points: number[], top: number, slots: number): string {
  const step = WIDTH / (slots - 1);
  const first = slots - points.length;
  return points
    .map((value, index) => {
      const x = (first + index) * step;
      const y = HEIGHT - 2 - (Math.min(value, top) / top) * (HEIGHT - 4);
      return `${index ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`;
    })
    .join('');
}

export function Chart({ points }: { points: number[] }) {
  const top = Math.max(25, ...points);
  const path = line(points, top, 60);
  const fill = points.length > 1 ? `${path}V${HEIGHT}H${(WIDTH - (points.length - 1) * (WIDTH / 59)).toFixed(1)}Z` : '';
  return (
    <svg class="chart" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      <path class="area" d={fill} />
      <path class="curve" d={path} />
    </svg>
  );
}

export function Bar({ share, label }: { share: number; label: string }) {
  const width = Math.max(0, Math.min(100, share * 100));
  return (
    <div
      class="bar"
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(width)}
    >
      <i style={{ width: `${width}%` }} class={width > 90 ? 'full' : ''} />
    </div>
  );
}
