/** The version in Cargo.toml, when the page was built. */
declare const __DS_VERSION__: string;
