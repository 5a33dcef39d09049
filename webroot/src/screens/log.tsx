// A log, live, as text with colours: the console of a container, or what the supervisor writes.

import { useEffect, useRef, useState } from 'preact/hooks';
import { AnsiReader, type Piece } from '../ansi';
import { IconButton, SearchField } from '../components/basics';
import { t } from '../i18n';
import { useSearch } from '../model/drafts';
import { subscribe } from '../rpc';

/** Lines that are kept: more would slow a phone down. */
const MOST = 2000;

type Request = Parameters<typeof subscribe>[0];

export function LogTab({ name }: { name: string }) {
  return <LogView request={{ subscribe: ['log'], name, lines: 500 }} event="log" empty={t('emptyLog')} />;
}

interface Props {
  request: Request;
  /** The events that its text comes with. */
  event: string;
  empty: string;
}

export function LogView({ request, event: wantedEvent, empty }: Props) {
  const [lines, setLines] = useState<Piece[][]>([]);
  const [filter, setFilter] = useSearch(`${request.name ?? ''}/search/log`);
  const [cut, setCut] = useState(0);
  const place = useRef<HTMLDivElement>(null);
  const follows = useRef(true);
  useEffect(() => {
    const reader = new AnsiReader();
    let all: Piece[][] = [[]];
    let dropped = 0;
    let drawn = 0;
    const draw = (): void => {
      drawn = 0;
      setLines([...all]);
      setCut(dropped);
    };
    const stop = subscribe(request, {
      event(document) {
        if (document.event !== wantedEvent) return;
        const [first = [], ...rest] = reader.read(String(document.text));
        const last = all[all.length - 1] ?? [];
        all = [...all.slice(0, -1), [...last, ...first], ...rest];
        dropped += Math.max(0, all.length - MOST);
        all = all.slice(-MOST);
        drawn ||= requestAnimationFrame(draw);
      },
    });
    return () => {
      stop();
      cancelAnimationFrame(drawn);
    };
  }, [request.name, wantedEvent]);
  useEffect(() => {
    const box = place.current;
    if (box && follows.current) box.scrollTop = box.scrollHeight;
  }, [lines, filter]);
  const wanted = filter.toLowerCase();
  const text = (line: Piece[]): string => line.map((piece) => piece.text).join('');
  const shown = wanted ? lines.filter((line) => text(line).toLowerCase().includes(wanted)) : lines;
  const isEmpty = lines.every((line) => line.length === 0);
  return (
    <section class="log-page">
      <div class="log-bar">
        <SearchField label={t('filterLog')} value={filter} onInput={setFilter} />
        <IconButton icon="trash" label={t('clear')} onClick={() => setLines([])} />
      </div>
      {cut > 0 && <p class="quiet">{t('cut', { count: cut })}</p>}
      <div
        class="log"
        ref={place}
        role="log"
        tabIndex={0}
        aria-label={t('log')}
        onScroll={(event) => {
          const box = event.currentTarget;
          follows.current = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
        }}
      >
        {isEmpty && <p class="quiet">{empty}</p>}
        {shown.map((line, index) => (
          <div key={index} dir="ltr">
            {line.length === 0 ? '\u00a0' : line.map((piece, at) => <PieceView key={at} piece={piece} />)}
          </div>
        ))}
      </div>
    </section>
  );
}

function PieceView({ piece }: { piece: Piece }) {
  if (!piece.colour && !piece.bold) return <>{piece.text}</>;
  return <span class={`${piece.colour} ${piece.bold ? 'bold' : ''}`}>{piece.text}</span>;
}
