//! One session that many threads run at once.
//!
//! ONNX Runtime lets any number of threads call `Run` on one session; `ort` does not (its `run` takes `&mut self`),
//! because some providers for accelerators are less careful. Here every session runs on the CPU provider only, which
//! has no such exception, so the call of the C interface stands here itself. A session for each thread would hold the
//! weights of the model as many times.
#![expect(unsafe_code, reason = "one call of ONNX Runtime's C interface; the proofs stand beside it")]

use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use ort::AsPointer;
use ort::session::{Session, SessionInputValue};
use ort::value::DynValue;

/// A session on the CPU provider.
#[derive(Debug)]
pub(crate) struct Shared {
    session: Session,
    input_names: Vec<CString>,
    output_names: Vec<CString>,
}

/// What a run answered, in the order of the session's outputs.
pub(crate) struct Outputs<'s> {
    values: Vec<DynValue>,
    /// Their memory is the session's.
    session: PhantomData<&'s Shared>,
}

impl Outputs<'_> {
    /// The values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &DynValue> {
        self.values.iter()
    }
}

impl Shared {
    /// Takes a session whose only provider is the CPU's.
    ///
    /// # Errors
    /// A name of the graph has a zero byte.
    pub(crate) fn new(session: Session) -> ort::Result<Self> {
        let names = |outlets: &[ort::value::Outlet]| {
            outlets.iter().map(|outlet| Ok(CString::new(outlet.name())?)).collect::<ort::Result<Vec<_>>>()
        };
        let (input_names, output_names) = (names(session.inputs())?, names(session.outputs())?);
        Ok(Self { session, input_names, output_names })
    }

    /// Runs the graph. Inputs are in the session's order, one for each.
    ///
    /// # Errors
    /// What ONNX Runtime says.
    pub(crate) fn run(&self, inputs: &[SessionInputValue<'_>]) -> ort::Result<Outputs<'_>> {
        if inputs.len() != self.input_names.len() {
            return Err(ort::Error::new(format!(
                "the graph has {} inputs and was given {}",
                self.input_names.len(),
                inputs.len()
            )));
        }
        let pointers = |names: &[CString]| names.iter().map(|name| name.as_ptr()).collect::<Vec<*const c_char>>();
        let (input_names, output_names) = (pointers(&self.input_names), pointers(&self.output_names));
        let inputs: Vec<*const ort::sys::OrtValue> = inputs.iter().map(|value| value.ptr()).collect();
        let mut outputs: Vec<*mut ort::sys::OrtValue> = vec![ptr::null_mut(); output_names.len()];
        // SAFETY: The session lives as long as `self`, and `Run` on the CPU provider may be called by many threads at
        // once. The lists have the lengths given beside them, the names end with a zero byte, and all of them and the
        // input values outlive the call. Run options may be null. Each null in `outputs` is filled with a value that
        // becomes ours.
        let status = unsafe {
            (ort::api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                input_names.as_ptr(),
                inputs.as_ptr(),
                inputs.len(),
                output_names.as_ptr(),
                output_names.len(),
                outputs.as_mut_ptr(),
            )
        };
        // SAFETY: The status comes from the call above and is taken once.
        unsafe { ort::Error::result_from_status(status) }?;
        let values = outputs.into_iter().map(|output| {
            let output = NonNull::new(output).ok_or_else(|| ort::Error::new("ONNX Runtime gave no output"))?;
            // SAFETY: The pointer is a value that `Run` made for us; nobody else releases it. It lives in CPU memory,
            // where the session's allocator is the one of ONNX Runtime's environment, which is never released.
            Ok(unsafe { DynValue::from_ptr(output, Some(self.session.allocator())) })
        });
        // All are taken over before the first error ends it, so none is leaked.
        let values: Vec<ort::Result<DynValue>> = values.collect();
        Ok(Outputs { values: values.into_iter().collect::<ort::Result<_>>()?, session: PhantomData })
    }
}
