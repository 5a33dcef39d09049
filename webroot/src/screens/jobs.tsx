// Jobs under way, and the last ones that have ended.

import { Empty } from '../components/basics';
import { JobCard } from '../components/job';
import { t } from '../i18n';
import { jobs } from '../model/store';

export function JobsScreen() {
  return (
    <>
      <header class="top-bar">
        <h1>{t('jobs')}</h1>
      </header>
      {jobs.value.length === 0 && <Empty icon="clock" title={t('noJobs')} text={t('noJobsText')} />}
      <div class="cards">
        {jobs.value.map((job) => (
          <JobCard key={job.id} job={job} />
        ))}
      </div>
    </>
  );
}
