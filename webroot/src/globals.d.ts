/** The version in Cargo.toml, when the page was built. */
declare const __DS_VERSION__: string;
/** The messages of the first list, by language. Only in `first/start.ts`. */
declare const __DS_FIRST__: Record<string, Record<string, string>>;
/** The address of the page's script. Only in `first/start.ts`. */
declare const __DS_ENTRY__: string;
