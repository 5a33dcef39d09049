import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, defineConfig, type Plugin } from 'vite';

const manifest = readFileSync(new URL('../Cargo.toml', import.meta.url), 'utf8');
const version = /^version = "([^"]+)"/m.exec(manifest)?.[1] ?? '';
const TARGET = 'chrome80';

/** The messages of the first list, by language. */
function firstMessages(): Record<string, Record<string, string>> {
  const folder = new URL('src/messages/', import.meta.url);
  const languages = readdirSync(folder).filter((name) => name.endsWith('.json'));
  const isFirst = (key: string): boolean => /^(state\.|notUp$|asOf$)/.test(key);
  return Object.fromEntries(
    languages.map((name) => {
      const messages = JSON.parse(readFileSync(new URL(name, folder), 'utf8')) as Record<string, string>;
      return [name.slice(0, -5), Object.fromEntries(Object.entries(messages).filter(([key]) => isFirst(key)))];
    }),
  );
}

/** The code of src/first/start.ts, which loads the page's script. */
async function firstScript(entry: string): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: 'warn',
    define: {
      __DS_VERSION__: JSON.stringify(version),
      __DS_FIRST__: JSON.stringify(firstMessages()),
      __DS_ENTRY__: JSON.stringify(entry),
    },
    publicDir: false,
    build: {
      target: TARGET,
      write: false,
      lib: { entry: fileURLToPath(new URL('src/first/start.ts', import.meta.url)), formats: ['iife'], name: 'first' },
    },
    esbuild: { legalComments: 'none' },
  });
  const output = [built].flat().flatMap((one) => ('output' in one ? one.output : []));
  const [chunk] = output;
  if (output.length !== 1 || chunk?.type !== 'chunk') throw new Error('the first script is not one script');
  if (/<\/?script/i.test(chunk.code)) throw new Error('the first script ends its own element');
  return chunk.code.trim();
}

/**
 * Puts the style of the first screen and what draws it into index.html: no request before something is seen. The first
 * script loads the page's own.
 */
const inlineFirst: Plugin = {
  name: 'inline-first',
  enforce: 'post',
  apply: 'build',
  async generateBundle(_options, bundle) {
    const page = bundle['index.html'];
    if (page?.type !== 'asset') throw new Error('there is no index.html');
    let entry = '';
    let text = String(page.source)
      .replace(/<link rel="stylesheet"[^>]* href="\.\/([^"]+)">/g, (_link, name: string) => {
        const style = bundle[name];
        if (style?.type !== 'asset') throw new Error(`there is no ${name}`);
        Reflect.deleteProperty(bundle, name);
        return `<style>${String(style.source)}</style>`;
      })
      .replace(/\s*<script type="module"[^>]* src="([^"]+)"><\/script>/, (_script, name: string) => {
        entry = name;
        return '';
      });
    if (entry === '') throw new Error('index.html has no script');
    const script = `<script>${await firstScript(entry)}</script>`;
    text = text.replace('<div id="app"></div>', (root) => `${root}\n    ${script}`);
    page.source = text;
  },
};

// The page is opened from a module's directory, below any path; file names carry hashes, because hosts cache for a day.
export default defineConfig({
  base: './',
  define: { __DS_VERSION__: JSON.stringify(version) },
  build: {
    target: TARGET,
    outDir: process.env.DS_PAGE ?? '../target/webroot',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    assetsInlineLimit: 0,
  },
  plugins: [inlineFirst],
  esbuild: { legalComments: 'none' },
});
