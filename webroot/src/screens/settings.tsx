// Every setting of a container as a form, made from ds's own table of keys. ds itself checks what is typed.

import { useEffect, useRef, useState } from 'preact/hooks';
import { Button, complain, Field, IniKey, Loading, Note, Prose, SearchField, sentence } from '../components/basics';
import { BindsField } from '../components/binds';
import { DevicesField } from '../components/devices';
import { PathField } from '../components/path-field';
import { UplinksField } from '../components/uplinks';
import { say } from '../components/snackbar';
import { size } from '../format';
import { type Key, language, t } from '../i18n';
import { describe, load as loadDescriptions, nameOf } from '../model/descriptions';
import { useDraft, useSearch } from '../model/drafts';
import { machine } from '../model/store';
import type { Container, Setting } from '../model/types';
import { DsError, ds } from '../rpc';

/** How long after the last key ds is asked. */
const PAUSE = 350;
const SECTIONS = ['container', 'limits', 'network', 'mounts', 'hardware', 'security', 'android'] as const;

type Values = Record<string, string>;

interface Form {
  settings: Setting[];
  environment: Values;
}

async function load(name: string): Promise<Form> {
  const { document } = await ds('get', name);
  return document as unknown as Form;
}

export function SettingsTab({ container }: { container: Container }) {
  const { name } = container;
  const [form, setForm] = useState<Form | null>(null);
  const [fault, setFault] = useState<unknown>(null);
  const { value: changed, change: setChanged, forget: forgetChanged } = useDraft<Values>(`${name}/settings`, {});
  const { value: faults, change: setFaults, forget: forgetFaults } = useDraft<Values>(`${name}/faults`, {});
  const [search, setSearch] = useSearch(`${name}/search/settings`);
  const [saving, setSaving] = useState(false);
  const timers = useRef<Record<string, ReturnType<typeof setTimeout>>>({});
  const reload = (): void => void load(name).then(setForm, setFault);
  useEffect(reload, [name]);
  useEffect(() => void loadDescriptions().catch(complain), [language.value]);
  if (fault) return <Note kind="bad">{sentence(fault)}</Note>;
  if (!form) return <Loading />;

  const change = (key: string, value: string, before: string): void => {
    setChanged((all) => {
      const next = { ...all, [key]: value };
      return value === before ? without(next, key) : next;
    });
    setFaults((all) => without(all, key));
    clearTimeout(timers.current[key]);
    if (value === before) return;
    timers.current[key] = setTimeout(() => {
      ds('set', name, `${key}=${value}`, '--dry-run').catch((error: unknown) => {
        if (error instanceof DsError) {
          setFaults((all) => ({ ...all, [key]: error.fault.reason ?? error.fault.message }));
        }
      });
    }, PAUSE);
  };
  const save = async (): Promise<void> => {
    setSaving(true);
    try {
      await ds('set', name, ...Object.entries(changed).map(([key, value]) => `${key}=${value}`));
      forgetChanged();
      say(t('saved'));
      reload();
    } catch (error) {
      if (error instanceof DsError && error.fault.key !== undefined && error.fault.key in changed) {
        const { key, reason, message } = error.fault;
        setFaults(() => ({ [key]: reason ?? message }));
      } else {
        complain(error);
      }
    } finally {
      setSaving(false);
    }
  };
  const wanted = search.toLowerCase();
  const fits = (setting: Setting): boolean =>
    `${setting.key} ${nameOf(setting.key)} ${setting.about} ${describe(setting.key, setting.about)}`
      .toLowerCase()
      .includes(wanted);
  const count = Object.keys(changed).length;
  return (
    <>
      <SearchField label={t('searchSettings')} value={search} onInput={setSearch} />
      {SECTIONS.map((section) => {
        const settings = form.settings.filter((one) => one.section === section && one.name !== 'uuid' && fits(one));
        if (settings.length === 0) return null;
        return (
          <section key={section}>
            <h2>{t(`section.${section}` as Key)}</h2>
            {settings.map((setting) => (
              <SettingField
                key={setting.key}
                setting={setting}
                value={changed[setting.key] ?? setting.value}
                fault={faults[setting.key] ?? null}
                onChange={(value) => change(setting.key, value, setting.value)}
              />
            ))}
          </section>
        );
      })}
      <Environment
        container={name}
        values={form.environment}
        changed={changed}
        faults={faults}
        onChange={(key, value) => change(key, value, form.environment[key.slice('environment.'.length)] ?? '')}
      />
      {count > 0 && (
        <div class="save-bar">
          <span>
            {t('changes', { count })}
            {container.pid !== null && <span class="sub">{t('atNextStart')}</span>}
          </span>
          <Button
            kind="text"
            onClick={() => {
              forgetChanged();
              forgetFaults();
            }}
          >
            {t('discard')}
          </Button>
          <Button kind="filled" disabled={saving || Object.keys(faults).length > 0} onClick={() => void save()}>
            {t('save')}
          </Button>
        </div>
      )}
    </>
  );
}

function without(values: Values, key: string): Values {
  return Object.fromEntries(Object.entries(values).filter(([other]) => other !== key));
}

/** A value of the configuration within a sentence that may run from right to left. */
function isolated(value: string): string {
  return `\u2066${value}\u2069`;
}

interface FieldProps {
  setting: Setting;
  value: string;
  fault: string | null;
  onChange: (value: string) => void;
}

function SettingField({ setting, value, fault, onChange }: FieldProps) {
  const isSwitch = setting.form === 'choice' && setting.words.join() === 'yes,no';
  const id = `setting-${setting.key}`;
  const about = describe(setting.key, setting.about);
  const label = nameOf(setting.key);
  const help = (
    <div id={`${id}-help`} class={fault ? 'help fault' : 'help'} aria-live="polite">
      {fault ?? <Prose text={about} />}
    </div>
  );
  if (isSwitch) {
    return (
      <div class="field switch-field">
        <label for={id}>{label}</label>
        <IniKey name={setting.key} />
        <input
          id={id}
          type="checkbox"
          role="switch"
          class="switch"
          checked={value === 'yes'}
          aria-describedby={`${id}-help`}
          onChange={(event) => onChange(event.currentTarget.checked ? 'yes' : 'no')}
        />
        {help}
      </div>
    );
  }
  if (setting.form === 'choice') {
    return (
      <div class="field">
        <label for={id}>{label}</label>
        <IniKey name={setting.key} />
        <select
          id={id}
          aria-describedby={`${id}-help`}
          value={value}
          onChange={(event) => onChange(event.currentTarget.value)}
        >
          {!setting.words.includes(value) && <option value={value}>{value || t('unset')}</option>}
          {setting.words.map((word) => (
            <option key={word} value={word}>
              {word}
            </option>
          ))}
        </select>
        {help}
      </div>
    );
  }
  if (setting.key === 'mounts.bind') {
    return (
      <BindsField label={label} code={setting.key} value={value} about={about} fault={fault} onChange={onChange} />
    );
  }
  const hint = setting.default
    ? t('default', { value: isolated(setting.default) })
    : t('example', { value: isolated(setting.example) });
  const prose = <Prose text={about} />;
  const shared = { label, code: setting.key, value, placeholder: hint, error: fault, onInput: onChange, help: prose };
  if (setting.section === 'limits') return <Field {...shared} button={<OfMachine setting={setting.key} />} />;
  if (setting.key === 'hardware.devices') return <DevicesField {...shared} />;
  if (setting.key === 'network.uplink') return <UplinksField {...shared} />;
  if (setting.kind === 'DIRECTORY') return <PathField {...shared} wanted="directory" />;
  if (setting.kind === 'FILE') return <PathField {...shared} wanted="image" />;
  return <Field {...shared} />;
}

/** What the machine has of what a setting limits. */
function OfMachine({ setting }: { setting: string }) {
  const load = machine.value;
  const texts: Record<string, string> = load
    ? {
        'limits.memory': t('ofMemory', { size: size(load.memory_total) }),
        'limits.cpus': t('ofCores', { count: load.processors }),
      }
    : {};
  const text = texts[setting];
  return text === undefined ? null : <span class="quiet of-machine">{text}</span>;
}

interface EnvironmentProps {
  container: string;
  values: Values;
  changed: Values;
  faults: Values;
  onChange: (key: string, value: string) => void;
}

function Environment({ container, values, changed, faults, onChange }: EnvironmentProps) {
  const { value: name, change: setName, forget } = useDraft(`${container}/variable`, '');
  const added = Object.keys(changed).filter((key) => key.startsWith('environment.'));
  const names = new Set([...Object.keys(values), ...added.map((key) => key.slice('environment.'.length))]);
  return (
    <section>
      <h2>{t('section.environment')}</h2>
      {[...names].map((variable) => {
        const key = `environment.${variable}`;
        return (
          <Field
            key={key}
            label={variable}
            value={changed[key] ?? values[variable] ?? ''}
            error={faults[key] ?? null}
            onInput={(value) => onChange(key, value)}
          />
        );
      })}
      <form
        class="add-row"
        onSubmit={(event) => {
          event.preventDefault();
          if (name) onChange(`environment.${name}`, ' ');
          forget();
        }}
      >
        <input
          type="text"
          aria-label={t('variableName')}
          placeholder={t('variableName')}
          autocapitalize="none"
          spellcheck={false}
          value={name}
          onInput={({ currentTarget }) => setName(() => currentTarget.value)}
        />
        <Button type="submit">{t('add')}</Button>
      </form>
    </section>
  );
}
