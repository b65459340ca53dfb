//! What the flavor `onnx` of a model says about its session.

use runlode_models::file::Onnx;

/// The providers and the session options of the flavor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Names of execution providers in the order of preference; none is the CPU.
    pub providers: Vec<String>,
    /// Threads that run parts of the graph side by side.
    pub inter_op_threads: Option<usize>,
    /// Threads of one operator.
    pub intra_op_threads: Option<usize>,
    /// Whether parts of the graph run side by side.
    pub is_parallel: Option<bool>,
    /// How much of the graph is rewritten.
    pub optimization: Option<Optimization>,
    /// Keys of ONNX Runtime's session options, and their values.
    pub extra: Vec<(String, String)>,
}

/// How much of the graph ONNX Runtime rewrites before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Optimization {
    /// What changes nothing but speed, before providers are chosen.
    Basic,
    /// Fusions of operators too.
    Extended,
    /// Layouts too.
    Layout,
    /// Everything.
    All,
}

/// A session option that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "flavors.onnx.onnx_session_options.graph_optimization_level of the model's MLmodel file is {found}; expected 0, 1, 2, 3 \
     or 99"
)]
pub struct SettingsError {
    /// What stands there.
    pub found: u32,
}

impl Settings {
    /// What the flavor says. As in MLflow, a number that is 0 and an empty text say nothing.
    ///
    /// # Errors
    /// The level of optimization is none of ONNX Runtime's.
    pub fn of_flavor(flavor: &Onnx) -> Result<Self, SettingsError> {
        let options = &flavor.session;
        let count = |number: Option<u32>| number.filter(|number| *number > 0).map(|number| number as usize);
        Ok(Self {
            providers: flavor.providers.iter().map(|provider| provider.name.clone()).collect(),
            inter_op_threads: count(options.inter_op_num_threads),
            intra_op_threads: count(options.intra_op_num_threads),
            // MLflow passes over other texts.
            is_parallel: match options.execution_mode.as_deref().map(str::to_uppercase).as_deref() {
                Some("SEQUENTIAL") => Some(false),
                Some("PARALLEL") => Some(true),
                _ => None,
            },
            optimization: match options.graph_optimization_level {
                None | Some(0) => None,
                Some(1) => Some(Optimization::Basic),
                Some(2) => Some(Optimization::Extended),
                Some(3) => Some(Optimization::Layout),
                Some(99) => Some(Optimization::All),
                Some(found) => return Err(SettingsError { found }),
            },
            extra: options.extra.clone(),
        })
    }

    /// The providers other than the CPU's, which this program does not have: such a model runs on the CPU.
    pub fn passed_over(&self) -> impl Iterator<Item = &str> {
        self.providers.iter().map(String::as_str).filter(|name| *name != "CPUExecutionProvider")
    }
}

#[cfg(test)]
mod tests {
    use runlode_models::file::ModelFile;

    use super::*;

    fn settings(options: &str) -> Result<Settings, SettingsError> {
        let text = format!("flavors:\n  onnx:\n    data: model.onnx\n{options}");
        Settings::of_flavor(&ModelFile::from_yaml(&text).unwrap().onnx.unwrap())
    }

    #[test]
    fn what_the_flavor_says_is_read() {
        let settings = settings(
            "    providers:\n    - CUDAExecutionProvider\n    - - TensorrtExecutionProvider\n      - device_id: '0'\n    \
             - CPUExecutionProvider\n    onnx_session_options:\n      inter_op_num_threads: 0\n      \
             intra_op_num_threads: 3\n      execution_mode: parallel\n      graph_optimization_level: 99\n      \
             extra_session_config:\n        session.set_denormal_as_zero: '1'\n",
        )
        .unwrap();
        assert_eq!(settings.passed_over().collect::<Vec<_>>(), ["CUDAExecutionProvider", "TensorrtExecutionProvider"]);
        assert_eq!((settings.inter_op_threads, settings.intra_op_threads), (None, Some(3)));
        assert_eq!((settings.is_parallel, settings.optimization), (Some(true), Some(Optimization::All)));
        assert_eq!(settings.extra, [("session.set_denormal_as_zero".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn silence_is_the_runtimes_default() {
        assert_eq!(settings("    onnx_session_options: null\n").unwrap(), Settings::default());
        assert_eq!(settings("").unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_level_is_refused() {
        let error = settings("    onnx_session_options:\n      graph_optimization_level: 7\n").unwrap_err();
        assert_eq!(error.found, 7);
    }
}
