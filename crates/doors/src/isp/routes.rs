//! The functions of the services, each declared once: the routers of both prefixes are built from these tables, and
//! tests walk them.

use crate::isp::by;
use crate::isp::service::Service;
use crate::state::DoorState;
use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

/// Who may call a function. Core decides about single objects; this is what the products say of whole functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody.
    Public,
    /// Whoever came in.
    User,
    /// Administrators; those who only read may look.
    Administrator,
}

impl Access {
    /// Its word in [`isp_routes`](crate::isp_routes).
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::User => "user",
            Self::Administrator => "administrator",
        }
    }
}

/// The functions of one service.
#[derive(Debug)]
pub(crate) struct Table {
    service: Service,
    functions: Vec<Function>,
}

#[derive(Debug)]
struct Function {
    method: Method,
    /// Below the service, with the version: `/v3/host/{id}`.
    path: &'static str,
    access: Access,
    handler: MethodRouter<DoorState>,
}

impl Table {
    /// No functions yet.
    pub(crate) fn of(service: Service) -> Self {
        Self { service, functions: Vec::new() }
    }

    /// A function called with GET, and with HEAD for those who need no body.
    pub(crate) fn get<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, DoorState>,
        T: 'static,
    {
        self.with(Method::GET, path, access, on(MethodFilter::GET, handler))
    }

    /// A function called with POST.
    pub(crate) fn post<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, DoorState>,
        T: 'static,
    {
        self.with(Method::POST, path, access, on(MethodFilter::POST, handler))
    }

    /// A function called with DELETE.
    pub(crate) fn delete<H, T>(self, access: Access, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, DoorState>,
        T: 'static,
    {
        self.with(Method::DELETE, path, access, on(MethodFilter::DELETE, handler))
    }

    fn with(
        mut self,
        method: Method,
        path: &'static str,
        access: Access,
        handler: MethodRouter<DoorState>,
    ) -> Self {
        self.functions.push(Function { method, path, access, handler });
        self
    }

    /// Method, whole path and access of each function, under both prefixes.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (Method, String, &'static str)> {
        self.functions.iter().flat_map(|function| {
            self.paths(function.path).map(|path| (function.method.clone(), path, function.access.word()))
        })
    }

    /// The routes of both prefixes.
    pub(crate) fn router(self, state: &DoorState) -> Router<DoorState> {
        let mut router = Router::new();
        for function in &self.functions {
            let admit = from_fn_with_state((state.clone(), function.access), by::admit);
            for path in self.paths(function.path) {
                router = router.route(&path, function.handler.clone().route_layer(admit.clone()));
            }
        }
        router
    }

    fn paths(&self, path: &str) -> [String; 2] {
        let whole = format!("/{}{path}", self.service.word());
        [format!("/api{whole}"), whole]
    }
}
