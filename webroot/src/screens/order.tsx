// In which order containers start with the device: dragged, or moved with buttons or arrow keys. ds starts lower
// priorities first.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button, complain, Empty, IconButton, Loading, TopBar } from '../components/basics';
import { Glyph } from '../components/container-parts';
import { Icon } from '../components/icon';
import { say } from '../components/snackbar';
import { t } from '../i18n';
import { useDraft } from '../model/drafts';
import { containers } from '../model/store';
import type { Container } from '../model/types';
import { back } from '../router';
import { ds } from '../rpc';

/** Room between two priorities, for containers that are sorted in by hand. */
const STEP = 10;

export function moved<T>(list: T[], from: number, to: number): T[] {
  const one = list[from];
  if (one === undefined || to < 0 || to >= list.length) return list;
  const rest = list.filter((_, index) => index !== from);
  return [...rest.slice(0, to), one, ...rest.slice(to)];
}

/** The priorities to set so that containers start in this order; those that fit already stay. */
export function changes(order: Pick<Container, 'name' | 'priority'>[]): [string, number][] {
  const isSorted = order.every((one, index) => index === 0 || (order[index - 1]?.priority ?? 0) < one.priority);
  if (isSorted) return [];
  return order.flatMap(({ name, priority }, index): [string, number][] => {
    const wanted = (index + 1) * STEP;
    return wanted === priority ? [] : [[name, wanted]];
  });
}

export function OrderScreen() {
  const all = containers.value;
  const stored = (all ?? [])
    .filter((one) => one.autostart)
    .sort((a, b) => a.priority - b.priority || a.name.localeCompare(b.name));
  const { value: names, change, forget } = useDraft<string[] | null>('order', null);
  const [dragged, setDragged] = useState<string | null>(null);
  const list = useRef<HTMLUListElement>(null);
  const order = names ? names.flatMap((name) => stored.filter((one) => one.name === name)) : stored;
  const move = (from: number, to: number): void =>
    change(() =>
      moved(
        order.map(({ name }) => name),
        from,
        to,
      ),
    );
  const save = async (): Promise<void> => {
    try {
      for (const [name, priority] of changes(order)) await ds('set', name, `priority=${priority}`);
      say(t('saved'));
      forget();
      back();
    } catch (error) {
      complain(error);
    }
  };
  const drag = useRef<(event: PointerEvent) => void>(() => undefined);
  drag.current = (event) => {
    const rows = [...(list.current?.children ?? [])].map((row) => row.getBoundingClientRect());
    const to = rows.findIndex(({ top, bottom }) => event.clientY >= top && event.clientY < bottom);
    const from = order.findIndex(({ name }) => name === dragged);
    if (from >= 0 && to >= 0 && to !== from) move(from, to);
  };
  // The row itself moves in the document, and would lose the pointer.
  useEffect(() => {
    if (dragged === null) return;
    const follow = (event: PointerEvent): void => drag.current(event);
    const end = (): void => setDragged(null);
    window.addEventListener('pointermove', follow);
    window.addEventListener('pointerup', end);
    window.addEventListener('pointercancel', end);
    return () => {
      window.removeEventListener('pointermove', follow);
      window.removeEventListener('pointerup', end);
      window.removeEventListener('pointercancel', end);
    };
  }, [dragged]);
  return (
    <>
      <TopBar title={t('startOrder')} />
      {!all && <Loading />}
      {all && order.length === 0 && <Empty icon="lines" title={t('noAutostart')} text={t('noAutostartText')} />}
      {order.length > 0 && <p class="quiet">{t('startOrderText')}</p>}
      <ul class="rows order" ref={list}>
        {order.map((one, index) => (
          <li key={one.name} class={dragged === one.name ? 'row dragged' : 'row'}>
            <button
              type="button"
              class="handle"
              aria-label={t('moveContainer', { name: one.name, position: index + 1 })}
              onPointerDown={() => setDragged(one.name)}
              onKeyDown={(event) => {
                if (event.key !== 'ArrowUp' && event.key !== 'ArrowDown') return;
                event.preventDefault();
                move(index, event.key === 'ArrowUp' ? index - 1 : index + 1);
              }}
            >
              <Icon name="drag" />
            </button>
            <Glyph container={one} />
            <span class="card-title">
              <bdi class="name">{one.name}</bdi>
              <span class="sub">{one.os ?? ''}</span>
            </span>
            <IconButton
              icon="upward"
              label={`${t('moveUp')} ${one.name}`}
              disabled={index === 0}
              onClick={() => move(index, index - 1)}
            />
            <IconButton
              icon="downward"
              label={`${t('moveDown')} ${one.name}`}
              disabled={index === order.length - 1}
              onClick={() => move(index, index + 1)}
            />
          </li>
        ))}
      </ul>
      {names && changes(order).length > 0 && (
        <div class="save-bar">
          <span>{t('startOrder')}</span>
          <Button kind="text" onClick={forget}>
            {t('discard')}
          </Button>
          <Button kind="filled" onClick={() => void save()}>
            {t('save')}
          </Button>
        </div>
      )}
    </>
  );
}
