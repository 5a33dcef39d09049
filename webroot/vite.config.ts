import { readFileSync } from 'node:fs';
import { defineConfig, type Plugin } from 'vite';

const manifest = readFileSync(new URL('../Cargo.toml', import.meta.url), 'utf8');
const version = /^version = "([^"]+)"/m.exec(manifest)?.[1] ?? '';

/** Puts the style of the first screen into index.html: one request less before something is seen. */
const inlineStyle: Plugin = {
  name: 'inline-style',
  enforce: 'post',
  apply: 'build',
  generateBundle(_options, bundle) {
    const page = bundle['index.html'];
    if (page?.type !== 'asset') throw new Error('there is no index.html');
    page.source = String(page.source).replace(
      /<link rel="stylesheet"[^>]* href="\.\/([^"]+)">/g,
      (_link, name: string) => {
        const style = bundle[name];
        if (style?.type !== 'asset') throw new Error(`there is no ${name}`);
        Reflect.deleteProperty(bundle, name);
        return `<style>${String(style.source)}</style>`;
      },
    );
  },
};

// The page is opened from a module's directory, below any path; file names carry hashes, because hosts cache for a day.
export default defineConfig({
  base: './',
  define: { __DS_VERSION__: JSON.stringify(version) },
  build: {
    target: 'chrome80',
    outDir: process.env.DS_PAGE ?? '../target/webroot',
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    assetsInlineLimit: 0,
  },
  plugins: [inlineStyle],
  esbuild: { legalComments: 'none' },
});
