// A dialog that chooses a file or a directory of the machine that ds runs on. It reads one directory at a time.

import { useEffect, useState } from 'preact/hooks';
import { date, size } from '../format';
import { t } from '../i18n';
import type { Entry, Listing } from '../model/types';
import { ask } from '../rpc';
import { Button, Loading, Note, SearchField, sentence } from './basics';
import { Dialog } from './dialog';
import { Icon, type IconName } from './icon';

/** Rows that are drawn at most; the search narrows the list down. */
const MOST = 200;
const STORED = 'droidspaces.directory';
const ICONS: Record<Entry['kind'], IconName> = { directory: 'folder', file: 'file', block: 'device', other: 'file' };

export type Wanted = 'directory' | 'file' | 'image' | 'any';

export function join(directory: string, name: string): string {
  return directory === '/' ? `/${name}` : `${directory}/${name}`;
}

/** The directory that holds `path`, to begin there. */
export function parentOf(path: string): string | null {
  if (!path.startsWith('/')) return null;
  return path.slice(0, path.lastIndexOf('/')) || '/';
}

/** Whether a user can choose an entry that is not a directory. */
export function fits(entry: Entry, wanted: Wanted): boolean {
  if (entry.kind === 'file') return wanted !== 'directory';
  return entry.kind === 'block' && (wanted === 'image' || wanted === 'any');
}

async function list(directory: string): Promise<Listing> {
  const { document } = await ask({ directory });
  return document as unknown as Listing;
}

/** The first of these directories that can be read. */
async function first(candidates: (string | null)[]): Promise<Listing> {
  for (const candidate of candidates) {
    if (candidate === null) continue;
    try {
      return await list(candidate);
    } catch {
      // The next one; the root directory is the last.
    }
  }
  return list('/');
}

interface Props {
  title: string;
  wanted: Wanted;
  value: string;
  onChoose: (path: string) => void;
  onClose: () => void;
}

export function Chooser({ title, wanted, value, onChoose, onClose }: Props) {
  const [listing, setListing] = useState<Listing | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [search, setSearch] = useState('');
  const show = (found: Listing): void => {
    setListing(found);
    setFault(null);
    setSearch('');
    localStorage.setItem(STORED, found.path);
  };
  const open = (path: string): void => void list(path).then(show, (error: unknown) => setFault(sentence(error)));
  useEffect(() => {
    first([parentOf(value), localStorage.getItem(STORED), '/data/media/0', '/root']).then(show, (error: unknown) =>
      setFault(sentence(error)),
    );
  }, []);
  const choose = (path: string): void => {
    onChoose(path);
    onClose();
  };
  return (
    <Dialog title={title} onClose={onClose} wide>
      {!listing && !fault && <Loading />}
      {listing && <Places listing={listing} onOpen={open} />}
      {fault && <Note kind="bad">{fault}</Note>}
      {listing && listing.entries.length > 12 && <SearchField label={t('search')} value={search} onInput={setSearch} />}
      {listing && <Entries listing={listing} wanted={wanted} search={search} onOpen={open} onChoose={choose} />}
      <div class="dialog-actions sticky">
        <Button kind="text" onClick={onClose}>
          {t('cancel')}
        </Button>
        {listing && (wanted === 'directory' || wanted === 'any') && (
          <Button kind="filled" onClick={() => choose(listing.path)}>
            {t('chooseThis')}
          </Button>
        )}
      </div>
    </Dialog>
  );
}

function Places({ listing, onOpen }: { listing: Listing; onOpen: (path: string) => void }) {
  const names = listing.path.split('/').filter(Boolean);
  const path = (count: number): string => `/${names.slice(0, count).join('/')}`;
  return (
    <>
      <div class="places">
        {listing.places.map((place) => (
          <button
            type="button"
            key={place}
            class={place === listing.path ? 'place on' : 'place'}
            onClick={() => onOpen(place)}
          >
            <bdi>{placeName(place)}</bdi>
          </button>
        ))}
      </div>
      <nav class="crumbs" aria-label={t('path')} dir="ltr">
        <button type="button" class="crumb" onClick={() => onOpen('/')}>
          /
        </button>
        {names.map((name, index) => (
          <button
            type="button"
            key={path(index + 1)}
            class="crumb"
            aria-current={index === names.length - 1 ? 'location' : undefined}
            onClick={() => onOpen(path(index + 1))}
          >
            {name}
          </button>
        ))}
      </nav>
    </>
  );
}

function placeName(place: string): string {
  switch (place) {
    case '/data/media/0':
      return t('place.storage');
    case '/data/media/0/Download':
      return t('place.downloads');
    default:
      return place;
  }
}

interface EntriesProps {
  listing: Listing;
  wanted: Wanted;
  search: string;
  onOpen: (path: string) => void;
  onChoose: (path: string) => void;
}

function Entries({ listing, wanted, search, onOpen, onChoose }: EntriesProps) {
  const text = search.toLowerCase();
  const shown = listing.entries.filter((entry) => entry.name.toLowerCase().includes(text));
  const missing = listing.omitted + Math.max(0, shown.length - MOST);
  return (
    <>
      {shown.length === 0 && <p class="quiet">{t('emptyDirectory')}</p>}
      <ul class="rows entries">
        {shown.slice(0, MOST).map((entry) => {
          const path = join(listing.path, entry.name);
          const isDirectory = entry.kind === 'directory';
          return (
            <li key={entry.name}>
              <button
                type="button"
                class="row choice"
                disabled={!isDirectory && !fits(entry, wanted)}
                onClick={() => (isDirectory ? onOpen(path) : onChoose(path))}
              >
                <Icon name={ICONS[entry.kind]} />
                <span class="card-title">
                  <bdi class="name">{entry.name}</bdi>
                  <span class="sub">
                    {[entry.size === null ? '' : size(entry.size), entry.changed === null ? '' : date(entry.changed)]
                      .filter(Boolean)
                      .join(' · ')}
                  </span>
                </span>
              </button>
            </li>
          );
        })}
      </ul>
      {missing > 0 && <p class="quiet">{t('moreEntries', { count: missing })}</p>}
    </>
  );
}
