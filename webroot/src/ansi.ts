// What a container wrote to its console, as pieces of text with colours. Every other control sequence is left out, and
// so are characters that change the order or the look of others: a log line must not look like another one.

export interface Piece {
  text: string;
  /** A class for the colour, `c0` to `c15`, or empty. */
  colour: string;
  bold: boolean;
}

const ESCAPE = '\u001b';
// Bidirectional controls, zero-width and other characters that are not seen.
const HIDDEN = /[\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb]/g;
/** A sequence that is longer than this is none. */
const LONGEST = 4096;

/** Takes text in any pieces; lines are complete when their end has come. */
export class AnsiReader {
  private colour = '';
  private bold = false;
  private rest = '';

  /** The lines of the text; the last one goes on with the next call. */
  read(text: string): Piece[][] {
    const input = this.rest + text;
    this.rest = '';
    const lines: Piece[][] = [[]];
    let plain = '';
    const flush = (): void => {
      const shown = plain.replace(HIDDEN, '');
      if (shown) lines[lines.length - 1]?.push({ text: shown, colour: this.colour, bold: this.bold });
      plain = '';
    };
    let at = 0;
    while (at < input.length) {
      const char = input.charAt(at);
      if (char === ESCAPE) {
        const end = sequenceEnd(input, at);
        if (end < 0) {
          if (input.length - at < LONGEST) this.rest = input.slice(at);
          break;
        }
        flush();
        if (input.charAt(at + 1) === '[' && input.charAt(end - 1) === 'm') this.style(input.slice(at + 2, end - 1));
        at = end;
        continue;
      }
      if (char === '\n') {
        flush();
        lines.push([]);
      } else if (char === '\t' || (char >= ' ' && char !== '\u007f' && !(char >= '\u0080' && char <= '\u009f'))) {
        plain += char;
      }
      at++;
    }
    flush();
    return lines;
  }

  private style(parameters: string): void {
    const codes = parameters.split(/[;:]/).map((code) => (code === '' ? 0 : Number(code)));
    for (let at = 0; at < codes.length; at++) {
      const code = codes[at] ?? 0;
      if (code === 0) {
        this.colour = '';
        this.bold = false;
      } else if (code === 1) this.bold = true;
      else if (code === 22) this.bold = false;
      else if (code === 39) this.colour = '';
      else if (code >= 30 && code <= 37) this.colour = `c${code - 30}`;
      else if (code >= 90 && code <= 97) this.colour = `c${code - 82}`;
      else if (code === 38 || code === 48) {
        const index = codes[at + 2] ?? 16;
        if (code === 38 && codes[at + 1] === 5 && index < 16) this.colour = `c${index}`;
        at += codes[at + 1] === 5 ? 2 : 4;
      }
    }
  }
}

/** The index after the sequence that begins at `at`, or -1 when it is not complete. */
function sequenceEnd(text: string, at: number): number {
  const kind = text.charAt(at + 1);
  if (kind === '') return -1;
  if (kind === '[') {
    for (let end = at + 2; end < text.length; end++) {
      const char = text.charAt(end);
      if (char >= '@' && char <= '~') return end + 1;
      if (char < ' ' || char > '~') return end;
    }
    return -1;
  }
  if (kind === ']' || kind === 'P' || kind === '_' || kind === '^' || kind === 'X') {
    for (let end = at + 2; end < text.length; end++) {
      const char = text.charAt(end);
      if (char === '\u0007') return end + 1;
      if (char === ESCAPE) return text.charAt(end + 1) === '\\' ? end + 2 : end;
      if (char === '\n') return end;
    }
    return -1;
  }
  if (kind === '(' || kind === ')' || kind === '#') return at + 3;
  return at + 2;
}
