// Asks before an address is opened: the text of one in a terminal came from a program in the container. In a root
// manager's app, the page must not open it at all: another page in the same WebView would have the app's bridge to root.

import { t } from '../i18n';
import { isLocalPage } from '../way';
import { Button, copyText } from './basics';
import { Dialog } from './dialog';

interface LinkDialogProps {
  address: string;
  /** What to know before it is opened; where it can be opened at all. */
  text?: string;
  onClose: () => void;
}

export function LinkDialog({ address, text = t('openLinkText'), onClose }: LinkDialogProps) {
  return (
    <Dialog title={t('openLink')} onClose={onClose}>
      <p class="link-address" dir="ltr">
        <code>{address}</code>
      </p>
      <p class="sub">{isLocalPage() ? text : t('openLinkInApp')}</p>
      <div class="dialog-actions">
        <Button kind="text" onClick={onClose}>
          {t('cancel')}
        </Button>
        <Button onClick={() => void copyText(address)}>{t('copy')}</Button>
        {isLocalPage() && (
          <a class="button filled" href={address} target="_blank" rel="noopener noreferrer" onClick={onClose}>
            {t('open')}
          </a>
        )}
      </div>
    </Dialog>
  );
}
