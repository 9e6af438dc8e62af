//! The native API and the page: one module per resource, which reads the request, calls, and maps the answer. The
//! tables here list the routes.

use std::sync::Arc;

use common::{
    api::{
        Health, JobPage, JobView, KillRequested, LatenessView, OutputView, Preview, PreviewRequest,
        RunAttempt, RunList, RunRequested, SaveReport, TickPage, Validated, WorkerDrain, WorkerList,
        WorkerView,
    },
    job::Job,
    task::Task,
};

use crate::{
    route::{Limits, Role, Route, Schema, Surface, Terms, Verb},
    state::App,
};

mod health;
mod jobs;
mod preview;
mod runs;
mod ticks;
pub(crate) mod ui;
mod workers;

/// A route that only looks.
const fn looks(summary: &'static str, gives: Schema) -> Terms {
    Terms { role: Role::Reader, limits: Limits::USUAL, summary, takes: None, gives: Some(gives) }
}

/// A route that says what something would come to.
const fn judges(summary: &'static str, takes: Schema, gives: Schema) -> Terms {
    Terms { takes: Some(takes), ..looks(summary, gives) }
}

/// A route that does something.
const fn acts(summary: &'static str, gives: Option<Schema>) -> Terms {
    Terms { role: Role::Operator, limits: Limits::USUAL, summary, takes: None, gives }
}

/// A route that stores what it is given.
const fn stores(summary: &'static str, takes: Schema, gives: Schema) -> Terms {
    Terms { takes: Some(takes), ..acts(summary, Some(gives)) }
}

/// The native API.
pub(crate) fn api() -> Surface<Arc<App>> {
    use Verb::{Delete, Get, Post, Put};
    let (job, run) = (Schema::of::<JobView>(), Schema::of::<RunRequested>());
    let save =
        stores("Saves many jobs, each by itself", Schema::of::<Vec<Job>>(), Schema::of::<SaveReport>());
    let reset = acts("Lets a job's ticks count from now, where a clock was ahead", Some(job));
    let mut routes = vec![
        Route::new(Get, "/jobs", jobs::list, looks("A page of jobs", Schema::of::<JobPage>())),
        Route::new(Post, "/jobs", jobs::create, stores("Creates a job", Schema::of::<Job>(), job)),
        Route::new(Get, "/jobs/{job}", jobs::show, looks("A job", job)),
        Route::new(
            Put,
            "/jobs/{job}",
            jobs::replace,
            stores("Creates or replaces a job", Schema::of::<Job>(), job),
        ),
        Route::new(Delete, "/jobs/{job}", jobs::delete, acts("Deletes a job", None)),
        Route::new(Post, "/jobs/{job}/run", jobs::run, acts("Queues a run of a job, now", Some(run))),
        Route::new(
            Post,
            "/jobs/{job}/kill",
            jobs::kill,
            acts("Ends a job's runs", Some(Schema::of::<KillRequested>())),
        ),
        Route::new(Post, "/jobs/{job}/pause", jobs::pause, acts("Pauses a job: its ticks pass", Some(job))),
        Route::new(
            Post,
            "/jobs/{job}/resume",
            jobs::resume,
            acts("Resumes a job: its ticks count from now", Some(job)),
        ),
        Route::new(Post, "/jobs/{job}/reset-fence", jobs::reset_fence, Terms { role: Role::Admin, ..reset }),
        Route::new(
            Get,
            "/jobs/{job}/ticks",
            ticks::list,
            looks("What became of a job's ticks", Schema::of::<TickPage>()),
        ),
        Route::new(Post, "/save", jobs::save_all, Terms { limits: Limits::BULK, ..save }),
        Route::new(
            Post,
            "/validate",
            preview::validate,
            judges("What saving a job would say", Schema::of::<Job>(), Schema::of::<Validated>()),
        ),
        Route::new(
            Post,
            "/preview",
            preview::preview,
            judges("What an expression means", Schema::of::<PreviewRequest>(), Schema::of::<Preview>()),
        ),
    ];
    routes.extend(run_routes());
    routes.extend(worker_routes());
    Surface { at: "/api/v1", from_lists: true, routes }
}

fn worker_routes() -> Vec<Route<Arc<App>>> {
    use Verb::{Get, Post};
    let (worker, drain) = (Schema::of::<WorkerView>(), Schema::of::<WorkerDrain>());
    vec![
        Route::new(Get, "/workers", workers::list, looks("A page of workers", Schema::of::<WorkerList>())),
        Route::new(Get, "/workers/{worker}", workers::show, looks("A worker", worker)),
        Route::new(
            Post,
            "/workers/{worker}/drain",
            workers::drain,
            acts("Has a worker take nothing new", Some(drain)),
        ),
        Route::new(
            Post,
            "/workers/{worker}/undrain",
            workers::undrain,
            acts("Lets a worker take runs again", Some(drain)),
        ),
    ]
}

fn run_routes() -> Vec<Route<Arc<App>>> {
    use Verb::{Get, Post};
    let run = Schema::of::<RunRequested>();
    let output = looks("What a run has printed", Schema::of::<OutputView>());
    vec![
        Route::new(Get, "/runs", runs::list, looks("A page of runs", Schema::of::<RunList>())),
        Route::new(
            Post,
            "/runs",
            runs::create,
            stores("Runs a task, without a job", Schema::of::<Task>(), run),
        ),
        Route::new(
            Get,
            "/runs/lateness",
            runs::lateness,
            looks("How late runs started", Schema::of::<LatenessView>()),
        ),
        Route::new(
            Get,
            "/runs/{run}",
            runs::show,
            looks("A run with its attempts", Schema::of::<RunAttempt>()),
        ),
        Route::new(Get, "/runs/{run}/output", runs::output, Terms { limits: Limits::WAITING, ..output }),
        Route::new(Post, "/runs/{run}/kill", runs::kill, acts("Ends a run", Some(run))),
    ]
}

/// What load balancers and monitors ask.
pub(crate) fn health() -> Surface<Arc<App>> {
    let probe =
        |summary, gives| Terms { role: Role::Public, limits: Limits::SMALL, summary, takes: None, gives };
    let ready = Some(Schema::of::<Health>());
    let metrics = probe("All metrics, as Prometheus reads them", Some(Schema::of::<str>()));
    let routes = vec![
        Route::new(Verb::Get, "/healthz", health::alive, probe("Whether it serves", None)),
        Route::new(Verb::Get, "/readyz", health::ready, probe("Whether it can be used", ready)),
        Route::new(Verb::Get, "/metrics", health::metrics, Terms { role: Role::Reader, ..metrics }),
    ];
    Surface { at: "", from_lists: false, routes }
}

/// The page, whose files hold nothing that is secret.
pub(crate) fn page() -> Surface<Arc<App>> {
    let file = |summary, limits| Terms { role: Role::Public, limits, summary, takes: None, gives: None };
    let routes = vec![
        Route::new(Verb::Get, "/", ui::index, file("The page", Limits::PAGE)),
        Route::new(Verb::Get, "/assets/{*path}", ui::asset, file("A file of the page", Limits::SMALL)),
    ];
    Surface { at: "", from_lists: false, routes }
}
