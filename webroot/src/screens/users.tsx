// Who can log in to a container, and how.

import { useEffect, useState } from 'preact/hooks';
import { copyText, IconButton, Loading, Note, sentence } from '../components/basics';
import { NotRunning } from '../components/container-parts';
import { t } from '../i18n';
import { listing, people, read, type User } from '../model/processes';
import type { Container } from '../model/types';
import { go } from '../router';
import { ds } from '../rpc';

/** A name that needs no quotes in a shell; others are entered by number. */
const PLAIN = /^[a-z_][a-z0-9_-]*$/i;

export function UsersTab({ container }: { container: Container }) {
  const { name } = container;
  const [users, setUsers] = useState<User[] | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const isThere = container.state === 'running';
  useEffect(() => {
    if (!isThere) return;
    setFault(null);
    ds('run', name, '--', ...listing).then(
      ({ output }) => setUsers(people(read(output, null).users)),
      (error: unknown) => setFault(sentence(error)),
    );
  }, [name, isThere]);
  if (!isThere) return <NotRunning container={container} icon="person" />;
  if (fault) return <Note kind="bad">{fault}</Note>;
  if (!users) return <Loading />;
  const login = (user: User): string =>
    `su -c "ds enter --user ${PLAIN.test(user.name) ? user.name : user.uid} ${name}"`;
  return (
    <ul class="rows">
      {users.map((user) => (
        <li class="row" key={`${user.uid} ${user.name}`}>
          <span class="card-title">
            <bdi class="name">{user.name}</bdi>
            <span class="sub">
              {user.uid} · <bdi dir="ltr">{user.home}</bdi> · <bdi dir="ltr">{user.shell}</bdi>
            </span>
          </span>
          <IconButton
            icon="copy"
            label={t('copyLogin', { user: user.name })}
            onClick={() => void copyText(login(user))}
          />
          <IconButton
            icon="terminal"
            label={t('terminalAs', { user: user.name })}
            onClick={() => go('terminal', name, user.name)}
          />
        </li>
      ))}
    </ul>
  );
}
