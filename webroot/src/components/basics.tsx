// Small parts that every screen uses.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import { t } from '../i18n';
import { back } from '../router';
import { DsError } from '../rpc';
import { Icon, type IconName } from './icon';
import { say } from './snackbar';

interface IconButtonProps {
  icon: IconName;
  label: string;
  onClick: () => void;
  tonal?: boolean;
  disabled?: boolean;
}

export function IconButton({ icon, label, onClick, tonal = false, disabled = false }: IconButtonProps) {
  return (
    <button
      type="button"
      class={tonal ? 'icon-button tonal' : 'icon-button'}
      aria-label={label}
      title={label}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

interface ButtonProps {
  children: ComponentChildren;
  onClick?: () => void;
  kind?: 'filled' | 'tonal' | 'text' | 'danger';
  disabled?: boolean;
  type?: 'button' | 'submit';
}

export function Button({ children, onClick, kind = 'tonal', disabled = false, type = 'button' }: ButtonProps) {
  return (
    <button type={type} class={`button ${kind}`} disabled={disabled} onClick={onClick}>
      {children}
    </button>
  );
}

interface SearchFieldProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  autofocus?: boolean;
}

export function SearchField({ label, value, onInput, autofocus = false }: SearchFieldProps) {
  return (
    <input
      class="search"
      type="search"
      autofocus={autofocus}
      aria-label={label}
      placeholder={label}
      value={value}
      onInput={(event) => onInput(event.currentTarget.value)}
    />
  );
}

export function TopBar({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <header class="top-bar">
      <IconButton icon="back" label={t('back')} onClick={back} />
      <h1>{title}</h1>
      {children}
    </header>
  );
}

export function Note({ kind = 'warn', children }: { kind?: 'warn' | 'bad' | 'info'; children: ComponentChildren }) {
  return (
    <div class={`note ${kind}`} role={kind === 'bad' ? 'alert' : 'status'}>
      {children}
    </div>
  );
}

interface EmptyProps {
  icon: IconName;
  title: string;
  text?: string;
  children?: ComponentChildren;
}

/** The whole page, where there is nothing else to show. */
export function Alone({ icon, title, text }: EmptyProps) {
  return (
    <main class="empty">
      <Icon name={icon} />
      <h1>{title}</h1>
      <p>{text}</p>
    </main>
  );
}

export function Empty({ icon, title, text, children }: EmptyProps) {
  return (
    <div class="empty">
      <Icon name={icon} />
      <h2>{title}</h2>
      {text && <p>{text}</p>}
      {children}
    </div>
  );
}

export function Loading() {
  return (
    <div class="loading" role="status">
      <span class="spinner" aria-hidden="true" />
      <span>{t('loading')}</span>
    </div>
  );
}

export interface FieldProps {
  label: string;
  /** The key in container.ini, below the label. */
  code?: string;
  value: string;
  onInput: (value: string) => void;
  help?: ComponentChildren;
  error?: string | null;
  placeholder?: string;
  autofocus?: boolean;
  /** The text is not shown. */
  secret?: boolean;
  /** A button beside the text, such as that of the file chooser. */
  button?: ComponentChildren;
}

let fields = 0;

export function Field(props: FieldProps) {
  const { label, code, value, onInput, help, error, placeholder, button, autofocus = false, secret = false } = props;
  const [id] = useState(() => `field-${++fields}`);
  return (
    <div class={error ? 'field faulty' : 'field'}>
      <label for={id}>{label}</label>
      {code !== undefined && <IniKey name={code} />}
      <div class="entry">
        <input
          id={id}
          type={secret ? 'password' : 'text'}
          dir={value ? 'ltr' : undefined}
          value={value}
          placeholder={placeholder}
          autofocus={autofocus}
          autocapitalize="none"
          autocomplete={secret ? 'new-password' : 'off'}
          spellcheck={false}
          aria-describedby={`${id}-help`}
          aria-invalid={error ? true : undefined}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
        {button}
      </div>
      <div id={`${id}-help`} class={error ? 'help fault' : 'help'} aria-live="polite">
        {error ?? help}
      </div>
    </div>
  );
}

/** What the file of a container calls a setting. */
export function IniKey({ name }: { name: string }) {
  return (
    <bdi class="ini-key" dir="ltr">
      {name}
    </bdi>
  );
}

interface ChipsProps<T extends string> {
  label: string;
  value: T;
  options: (readonly [T, string])[];
  onChange: (value: T) => void;
}

/** A choice of few, all of which are seen. */
export function Chips<T extends string>({ label, value, options, onChange }: ChipsProps<T>) {
  return (
    <div class="places" role="group" aria-label={label}>
      {options.map(([id, text]) => (
        <button
          type="button"
          key={id}
          class={id === value ? 'place on' : 'place'}
          aria-pressed={id === value}
          onClick={() => onChange(id)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}

/** Text of ours with words between backquotes. */
export function Prose({ text }: { text: string }) {
  return <>{text.split('`').map((part, index) => (index % 2 ? <code>{part}</code> : part))}</>;
}

export function sentence(error: unknown): string {
  if (error instanceof DsError) return error.fault.message;
  return error instanceof Error ? error.message : String(error);
}

/** Shows why something did not work. */
export function complain(error: unknown): void {
  say(`${t('failedTo')}: ${sentence(error)}`);
}

export async function copyText(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say(t('copied'));
  } catch (error) {
    complain(error);
  }
}
