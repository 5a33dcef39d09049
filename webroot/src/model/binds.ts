// Bind mounts as container.ini writes them: `/source:/target[:OPTION…]`, comma-separated; a comma, a colon or a
// backslash in a path has a backslash before it. ds itself checks what is written.

export interface Bind {
  source: string;
  target: string;
  options: string[];
}

/** Splits at a separator that has no backslash before it; escapes stay. */
function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let part = '';
  for (let at = 0; at < text.length; at++) {
    const letter = text.charAt(at);
    if (letter === separator) {
      parts.push(part);
      part = '';
    } else {
      part += letter === '\\' ? letter + text.charAt(++at) : letter;
    }
  }
  return [...parts, part];
}

const unescape = (text: string): string => text.replace(/\\(.)/gs, '$1');
const escape = (text: string): string => text.replace(/[\\,:]/g, '\\$&');

export function read(text: string): Bind[] {
  return split(text, ',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
    .map((item) => {
      const [source = '', target = '', ...options] = split(item, ':');
      return { source: unescape(source), target: unescape(target), options };
    });
}

export function write(binds: Bind[]): string {
  return binds.map(({ source, target, options }) => [escape(source), escape(target), ...options].join(':')).join(',');
}

/** Where a directory is likely wanted in the container. */
export function suggestion(source: string): string {
  const name = source.split('/').filter(Boolean).pop();
  return name === undefined ? '' : `/mnt/${name}`;
}
